//! Faults that are planned happen, once; the machine is the one that was described.

use std::env;
use std::process::Command;

use cudarc::driver::result::{self, device};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, cudaError_enum as Status};
use firstlight_stand_in::Schedule;

use crate::device::Device;

#[test]
fn the_planned_call_fails_and_no_other() {
    let device = Device::new(Schedule::Lazy);
    device.stand_in.fail("cuMemAlloc_v2", 2, 2);
    // SAFETY: addresses are not followed.
    let outcomes: Vec<_> = (0..3).map(|_| unsafe { result::malloc_sync(16) }.map(drop)).collect();
    let failed = Err(result::DriverError(Status::CUDA_ERROR_OUT_OF_MEMORY));
    assert_eq!(outcomes, [Ok(()), failed, Ok(())]);
    device.assert_no_report();
}

#[test]
fn memory_ends() {
    let device = Device::new(Schedule::Lazy);
    let (free, total) = result::mem_get_info().unwrap();
    device.stand_in.set(&format!("memory={}", total - free + 4096));
    let all = device.allocate(4096);
    // SAFETY: addresses are not followed.
    let more = unsafe { result::malloc_sync(1) };
    assert_eq!(more, Err(result::DriverError(Status::CUDA_ERROR_OUT_OF_MEMORY)));
    assert_eq!(result::mem_get_info().unwrap().0, 0);
    device.free(all).unwrap();
    assert_eq!(result::mem_get_info().unwrap().0, 4096);
    device.stand_in.set(&format!("memory={total}"));
}

#[test]
fn the_machine_is_the_one_described() {
    let device = Device::new(Schedule::Lazy);
    device.stand_in.set("architecture=75");
    device.stand_in.set("driver=11040");
    let major = Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    // SAFETY: device 0 is there.
    assert_eq!(unsafe { device::get_attribute(0, major) }, Ok(7));
    let mut version = 0;
    // SAFETY: there is room for it.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().unwrap();
    assert_eq!(version, 11040);
    let fatbin = 0xba55_ed50_u32;
    // SAFETY: no more than its first four bytes are read.
    let module = unsafe { result::module::load_data((&raw const fatbin).cast()) };
    assert_eq!(module, Err(result::DriverError(Status::CUDA_ERROR_NO_BINARY_FOR_GPU)));
    device.stand_in.set("devices=0");
    assert_eq!(result::init(), Err(result::DriverError(Status::CUDA_ERROR_NO_DEVICE)));
}

/// Set in a process that is to leave a report behind.
const LEAVES_A_REPORT: &str = "FIRSTLIGHT_TEST_LEAVES_A_REPORT";

#[test]
fn a_process_with_a_report_that_nobody_took_fails() {
    if env::var_os(LEAVES_A_REPORT).is_some() {
        let device = Device::new(Schedule::Lazy);
        assert!(device.free(16).is_err());
        return;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "faults::a_process_with_a_report_that_nobody_took_fails"]);
    let output = child.env(LEAVES_A_REPORT, "1").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(86), "{errors}");
    assert!(errors.contains("reports that no test took:\ncuMemFree of 0x10"), "{errors}");
}

#[test]
fn a_process_is_told_by_its_environment() {
    let name = "faults::the_planned_call_fails_and_no_other";
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", name]).env("FIRSTLIGHT_STAND_IN", "schedule=eager,devices=0");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && text.contains("CUDA_ERROR_NO_DEVICE"), "{text}");
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", name]).env("FIRSTLIGHT_STAND_IN", "schedule=never");
    let output = child.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(86));
    assert!(errors.contains("`schedule=never` is no setting"), "{errors}");
}
