//! Tests of the whole: the real program, real sockets, and on both sides clients and servers that know nothing of sealock.
//!
//! Every test starts its own sealock on ports that the system chooses, and reads what it logs; nothing sleeps to be in step.

mod support;

mod docs;
mod smoke;
