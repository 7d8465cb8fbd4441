//! Tests of the whole: real clients and real servers on both sides of sealock.
