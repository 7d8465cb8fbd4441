#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealock_fuzz::framing_counted(data));
