//! Kernels: right ones compute what they should, wrong ones are reported with their place.

use firstlight_stand_in::Schedule;

use crate::device::{Address, Device, Packed};

const SCHEDULES: [Schedule; 4] =
    [Schedule::Eager, Schedule::Lazy, Schedule::Random(1), Schedule::Random(2)];

fn counted(count: u16) -> Vec<f32> {
    (0..count).map(f32::from).collect()
}

#[test]
fn threads_of_a_block_meet_in_shared_memory() {
    for schedule in SCHEDULES {
        let device = Device::new(schedule);
        let stream = device.streams[0];
        let (x, out) = (device.upload(&counted(128)), device.allocate(128 * 4));
        let arguments = Packed::default().pointer(x).pointer(out);
        device.launch(stream, "reversed", 2, 64, arguments).unwrap();
        let values: Vec<f32> = device.download(stream, out, 128).unwrap();
        assert_eq!((values[0], values[63], values[64], values[127]), (63.0, 0.0, 127.0, 64.0));
        device.assert_no_report();
    }
}

#[test]
fn lanes_and_blocks_add_up() {
    for schedule in SCHEDULES {
        let device = Device::new(schedule);
        let stream = device.streams[0];
        let (x, sum) = (device.upload(&counted(192)), device.upload(&[0.0_f32]));
        let blocks = device.upload(&[0_u32]);
        let arguments = Packed::default().pointer(x).pointer(sum).pointer(blocks);
        device.launch(stream, "total", 3, 64, arguments).unwrap();
        assert_eq!(device.download::<f32>(stream, sum, 1).unwrap(), [191.0 * 96.0]);
        assert_eq!(device.download::<u32>(stream, blocks, 1).unwrap(), [3]);
        device.assert_no_report();
    }
}

#[test]
fn atomics_meet_in_shared_memory() {
    for schedule in SCHEDULES {
        let device = Device::new(schedule);
        let stream = device.streams[0];
        let (x, out) = (device.upload(&counted(64)), device.allocate(64 * 4));
        let count = device.allocate(4);
        let arguments = Packed::default().pointer(x).float(39.5).pointer(out).pointer(count);
        device.launch(stream, "gathered", 1, 64, arguments).unwrap();
        assert_eq!(device.download::<u32>(stream, count, 1).unwrap(), [24]);
        let mut gathered: Vec<f32> = device.download(stream, out, 24).unwrap();
        gathered.sort_by(f32::total_cmp);
        assert_eq!(gathered, counted(64)[40..]);
        device.assert_no_report();
    }
}

#[test]
fn shuffles_and_votes_are_those_of_the_programming_guide() {
    let device = Device::new(Schedule::Lazy);
    let stream = device.streams[0];
    let out = device.allocate(128 * 4);
    device.launch(stream, "lanes", 1, 32, Packed::default().pointer(out)).unwrap();
    let lanes: Vec<u32> = device.download(stream, out, 128).unwrap();
    assert!(lanes[..32].iter().all(|&lane| lane == 5));
    assert_eq!((lanes[32], lanes[32 + 28], lanes[32 + 29]), (3, 31, 29));
    assert_eq!((lanes[64], lanes[64 + 2], lanes[64 + 3]), (0, 2, 0));
    assert_eq!(lanes[96], 0b01_001_001_001_001_001_001_001_001_001_001);
}

/// Small whole numbers, whose products and sums every type holds exactly.
#[test]
fn the_matrix_product_is_that_of_plain_loops() {
    let (a, b) = (|i: usize| (i * 7 % 11) as f32 - 5.0, |i: usize| (i * 5 % 13) as f32 - 6.0);
    let narrow = |kernel: &str, x: f32| match kernel {
        "product_bf16" => (x.to_bits() >> 16) as u16,
        _ => f16_bits(x),
    };
    for kernel in ["product_bf16", "product_f16"] {
        let device = Device::new(Schedule::Lazy);
        let stream = device.streams[0];
        let left: Vec<_> = (0..256).map(|i| narrow(kernel, a(i))).collect();
        let right: Vec<_> = (0..128).map(|i| narrow(kernel, b(i))).collect();
        let (left, right) = (device.upload(&left), device.upload(&right));
        let out = device.allocate(128 * 4);
        let arguments = Packed::default().pointer(left).pointer(right).pointer(out);
        device.launch(stream, kernel, 1, 32, arguments).unwrap();
        let found = device.download::<f32>(stream, out, 128);
        assert_eq!(device.stand_in.take_reports(), [""; 0]);
        let expected: Vec<f32> =
            (0..128).map(|i| (0..16).map(|k| a(i / 8 * 16 + k) * b(k * 8 + i % 8)).sum()).collect();
        assert_eq!(found.unwrap(), expected, "{kernel}");
    }
}

/// Of a whole number below 2048.
fn f16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 0xff) as u16;
    let sign = (bits >> 31) as u16;
    if exponent == 0 {
        0
    } else {
        sign << 15 | (exponent - 112) << 10 | (bits >> 13 & 0x3ff) as u16
    }
}

#[test]
fn structures_and_dynamic_shared_memory_arrive() {
    let device = Device::new(Schedule::Lazy);
    let stream = device.streams[0];
    let (x, out) = (device.upload(&counted(32)), device.allocate(32 * 4));
    let arguments = Packed::default().pointer(x).float(3.0).number(0).pointer(out);
    device.launch_with_shared(stream, "scaled", 1, 32, 128, arguments).unwrap();
    let values: Vec<f32> = device.download(stream, out, 32).unwrap();
    assert_eq!((values[0], values[1], values[31]), (3.0, 0.0, 90.0));
    assert_eq!(device.stand_in.parameters("scaled"), Some(vec![16, 8]));
    assert_eq!(device.stand_in.parameters("none"), None);
}

/// Launches and waits: the text of the one report.
fn report(device: &Device, kernel: &str, grid: u32, block: u32, arguments: Packed) -> String {
    report_with_shared(device, kernel, grid, block, 0, arguments)
}

fn report_with_shared(
    device: &Device,
    kernel: &str,
    grid: u32,
    block: u32,
    shared: u32,
    arguments: Packed,
) -> String {
    let stream = device.streams[0];
    let outcome = device.launch_with_shared(stream, kernel, grid, block, shared, arguments);
    let outcome = outcome.and_then(|()| device.wait(stream));
    assert!(outcome.is_err(), "`{kernel}` passes");
    assert!(device.wait(stream).is_err(), "the failure stays until the report is taken");
    let report = device.report();
    device.wait(stream).unwrap();
    report
}

#[track_caller]
fn assert_says(report: &str, parts: &[&str]) {
    for part in parts {
        assert!(report.contains(part), "`{part}` is not in:\n{report}");
    }
}

/// A device with 64 numbers, and room for as many.
fn with_numbers(schedule: Schedule) -> (Device, Address, Address) {
    let device = Device::new(schedule);
    let (x, out) = (device.upload(&counted(64)), device.allocate(64 * 4));
    (device, x, out)
}

#[test]
fn one_element_too_many_is_reported() {
    for schedule in SCHEDULES {
        let (device, x, out) = with_numbers(schedule);
        let arguments = Packed::default().pointer(x).pointer(out).number(64);
        let read = report(&device, "reads_one_too_many", 1, 64, arguments);
        assert_says(
            &read,
            &[
                "`reads_one_too_many`, block (0, 0, 0), thread (63, 0, 0)",
                "reads 4 bytes at offset 256",
                "256 bytes",
                "argument 0",
                "expected offsets below 256",
            ],
        );
        let arguments = Packed::default().pointer(out).number(64);
        let written = report(&device, "writes_one_too_many", 1, 128, arguments);
        assert_says(&written, &["thread (64, 0, 0)", "writes 4 bytes at offset 256"]);
    }
}

#[test]
fn unwritten_weights_are_reported() {
    let (device, x, _) = with_numbers(Schedule::Lazy);
    let unwritten = device.allocate(256);
    let arguments = Packed::default().pointer(x).pointer(unwritten).number(64);
    let report = report(&device, "plus", 1, 64, arguments);
    assert_says(
        &report,
        &["`plus`", "reads 4 bytes at offset 0", "argument 1", "nobody has written it"],
    );
}

#[test]
fn use_after_free_is_reported() {
    let (device, x, _) = with_numbers(Schedule::Lazy);
    let sum = device.upload(&counted(64));
    device.free(x).unwrap();
    let arguments = Packed::default().pointer(sum).pointer(x).number(64);
    let report = report(&device, "plus", 1, 64, arguments);
    assert_says(&report, &["`plus`", "reads 4 bytes", "argument 1", "freed"]);
    assert!(device.free(x).is_err());
    assert_says(&device.report(), &["no live allocation"]);
}

#[test]
fn missing_barriers_are_reported() {
    for schedule in SCHEDULES {
        let (device, x, out) = with_numbers(schedule);
        let two = || Packed::default().pointer(x).pointer(out);
        for (kernel, threads, says) in [
            ("misses_a_barrier", 64, "__syncthreads"),
            ("misses_the_second_barrier", 64, "__syncthreads"),
            ("misses_a_warp_barrier", 32, "__syncwarp"),
            ("misses_a_barrier_after_atomics", 64, "__syncthreads"),
            ("misses_a_barrier_before_atomics", 64, "__syncthreads"),
        ] {
            let report = report(&device, kernel, 1, threads, two());
            assert_says(&report, &[kernel, "of the shared array", "tile"]);
            assert!(
                report.contains(says) || report.contains("no thread of this block"),
                "{report}"
            );
        }
        let report =
            report(&device, "reads_unwritten_shared", 1, 64, Packed::default().pointer(out));
        assert_says(
            &report,
            &["offset 0 of the shared array", "no thread of this block has written it"],
        );
    }
}

#[test]
fn missing_waits_for_copies_are_reported() {
    for schedule in SCHEDULES {
        let device = Device::new(schedule);
        let (x, out) = (device.upload(&counted(256)), device.allocate(256 * 4));
        let two = || Packed::default().pointer(x).pointer(out);
        let unwaited = report(&device, "misses_a_wait", 1, 32, two());
        assert_says(&unwaited, &["cp.async", "in flight"]);
        let unordered = report(&device, "misses_a_barrier_after_the_wait", 1, 64, two());
        assert_says(&unordered, &["tile"]);
    }
}

#[test]
fn the_bounds_of_shared_memory_are_checked() {
    let (device, _, out) = with_numbers(Schedule::Lazy);
    let arguments = || Packed::default().pointer(out).number(65);
    let array = report(&device, "leaves_a_static_array", 1, 64, arguments());
    assert_says(&array, &["index 64 of an array", "wrong.cu"]);
    let dynamic = report_with_shared(&device, "leaves_dynamic_memory", 1, 64, 256, arguments());
    assert_says(
        &dynamic,
        &["offset 256 of the dynamic shared memory", "expected offsets below 256"],
    );
}

#[test]
fn blocks_that_meet_are_reported() {
    for schedule in SCHEDULES {
        let (device, x, _) = with_numbers(schedule);
        for kernel in ["meets_other_blocks", "reads_other_blocks"] {
            let report = report(&device, kernel, 3, 1, Packed::default().pointer(x));
            assert_says(&report, &[kernel, "another block of the same launch"]);
        }
    }
}

#[test]
fn barriers_that_not_all_threads_reach_are_reported() {
    let (device, _, out) = with_numbers(Schedule::Lazy);
    let report = report(&device, "waits_alone", 1, 64, Packed::default().pointer(out));
    assert_says(&report, &["cannot go on", "expected all threads"]);
}

#[test]
fn vectors_have_to_be_aligned() {
    let (device, x, out) = with_numbers(Schedule::Lazy);
    let report = report(&device, "is_not_aligned", 1, 1, Packed::default().pointer(x).pointer(out));
    assert_says(&report, &["offset 4 of allocation", "multiple of 16"]);
}

#[test]
fn traps_are_reported() {
    let device = Device::new(Schedule::Lazy);
    let report = report(&device, "traps", 1, 64, Packed::default().number(40));
    assert_says(&report, &["`traps`, block (0, 0, 0), thread (40, 0, 0), traps"]);
}

#[test]
fn wrong_arguments_are_reported() {
    let (device, x, out) = with_numbers(Schedule::Lazy);
    let few = report(&device, "plus", 1, 64, Packed::default().pointer(x).pointer(out));
    assert_says(&few, &["`plus`", "16 bytes of arguments", "expected 20, for 3 parameters"]);
    let wide = Packed::default().pointer(x).pointer(out).pointer(64);
    assert_says(&report(&device, "plus", 1, 64, wide), &["24 bytes of arguments", "expected 20"]);
    let number = Packed::default().pointer(x).pointer(7).number(64);
    assert_says(&report(&device, "plus", 1, 64, number), &["argument 1 of `plus`", "pointer"]);
}

#[test]
fn launches_have_to_fit_the_device() {
    let (device, x, out) = with_numbers(Schedule::Lazy);
    let three = || Packed::default().pointer(x).pointer(out).number(64);
    assert_says(&report(&device, "plus", 1, 1025, three()), &["at most 1024 threads"]);
    assert_says(&report(&device, "plus", 0, 64, three()), &["grid (0, 1, 1)"]);
    let shared = report_with_shared(&device, "plus", 1, 64, 49153, three());
    assert_says(&shared, &["49153 bytes of shared memory", "at most 49152"]);
}
