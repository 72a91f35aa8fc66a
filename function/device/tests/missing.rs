//! What a machine without the right GPU is told. A process of its own, since the machine is what changes, and one test,
//! since the machine is one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;

use firstlight_device::Cuda;
use firstlight_device::cuda::{Arena, Context};
use firstlight_stand_in::{StandIn, load};

#[test]
fn errors_name_what_is_missing() {
    if env::var_os("FIRSTLIGHT_TEST_GPU").is_none() {
        no_driver();
        wrong_machines(load());
        too_little_memory(load());
        only_the_chosen_device(load());
    }
}

/// On a machine that has no GPU, which most that run this have not.
fn no_driver() {
    let Err(refusal) = Cuda::probe() else { return };
    let expected = "there is no CUDA driver: `libcuda.so.1` was not found";
    assert!(refusal.to_string().starts_with(expected), "{refusal}");
    assert!(Cuda::open(0).unwrap_err().to_string().starts_with(expected));
}

fn wrong_machines(machine: &StandIn) {
    for (setting, ordinal, expected) in [
        ("driver=11040", 0, "the CUDA driver speaks CUDA 11.4, and 12.2 is needed\nhint: "),
        ("devices=0", 0, "the CUDA driver shows no device\nhint: "),
        ("devices=2", 2, "there is no CUDA device 2: the driver shows 2, counted from 0"),
        (
            "architecture=75",
            0,
            "`stand-in for libcuda` is sm_75, and the kernels are built for sm_80, sm_86",
        ),
        (
            "driver=12040,fail=cuModuleLoadData:1:222",
            0,
            "the CUDA driver speaks CUDA 12.4, and 13.0 is needed",
        ),
        (
            "fail=cuDevicePrimaryCtxRetain:1:2",
            0,
            "`cuDevicePrimaryCtxRetain` failed with CUDA_ERROR_",
        ),
    ] {
        machine.reset();
        setting.split(',').for_each(|setting| machine.set(setting));
        let refusal = Cuda::open(ordinal).unwrap_err().to_string();
        assert!(refusal.starts_with(expected), "{setting}: {refusal}");
    }
    machine.reset();
}

fn too_little_memory(machine: &StandIn) {
    machine.set("memory=1000000");
    let context = Context::open(0).unwrap();
    let free_bytes = context.free_bytes().unwrap();
    let refusal = Arena::on(&context, 2_000_000).unwrap_err().to_string();
    let expected = format!(
        "cannot reserve 2000000 bytes of the GPU for the weights: {free_bytes} are free\nhint: "
    );
    assert!(refusal.starts_with(&expected), "{refusal}");
    machine.reset();
}

/// Whose contexts the others would have to wait for.
fn only_the_chosen_device(machine: &StandIn) {
    machine.reset();
    machine.set("devices=4");
    let context = Context::open(2).unwrap();
    assert_eq!(machine.counters().calls, CALLS_OF_ONE_CONTEXT, "{context:?}");
    machine.reset();
}

/// The version, the initialisation, the count; the device, its context, name, and two attributes.
const CALLS_OF_ONE_CONTEXT: u64 = 8;
