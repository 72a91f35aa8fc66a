use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::attention::AttentionShape;
use super::*;

const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

#[test]
fn the_machine_code_is_of_these_sources() {
    let made_from = include_str!("../../cuda/kernels.fatbin.txt").split_once(' ').unwrap().0;
    assert_eq!(
        made_from,
        env!("FIRSTLIGHT_CUDA_SOURCES"),
        "the kernels have changed: `kernels/check-cuda --update`"
    );
    // Seven of each kernel. It is in the binary, which should grow by less than a megabyte for it.
    assert!(FATBIN.len() < 900_000, "{} bytes", FATBIN.len());
    assert_eq!(FATBIN[..4], 0xba55_ed50_u32.to_le_bytes(), "the mark of a fatbin");
    assert!(FATBIN.as_ptr().addr().is_multiple_of(8), "words of eight bytes");
}

#[test]
fn every_kernel_has_a_launch_and_every_launch_a_kernel() {
    let launched: BTreeSet<_> = all_launches().into_iter().map(|launch| launch.kernel).collect();
    let sources = source_texts();
    let written = |begins: &'static str| {
        let kernels = sources.iter().flat_map(move |source| source.split(begins).skip(1));
        kernels.map(|rest| rest.split([',', ')']).next().unwrap())
    };
    let written: BTreeSet<_> = written("\nKERNEL(").chain(written("\nGEMM(")).collect();
    assert_eq!(launched, written);
}

#[test]
fn constants_are_those_of_the_sources() {
    let sources = source_texts().concat();
    for constant in [
        "VECTOR = 8;",
        "GEMV_OUTPUTS = 4;",
        "GEMV_WARPS = 8;",
        "GEMV_ROWS = 4;",
        "DECODE_HEADS = 4;",
        "DECODE_THREADS = 128;",
        "NORM_WARPS = 32;",
        "GEMM_THREADS = 128;",
        "LAYER_NORM_WARPS = 32;",
        "SEES_ALL = 0xffffffffu;",
        "THEN_SETS = 0;",
        "THEN_ADDS = 1;",
        "THEN_GATES = 2;",
        "THEN_GELU = 3;",
        "THEN_GELU_TANH = 4;",
        "PLAIN_TILE = 64;",
        "PLAIN_THREADS = 256;",
        "KV_BLOCK = 64;",
        "PREFILL_ROWS = 64;",
        "PREFILL_THREADS = 128;",
        "SAMPLING_THREADS = 1024;",
    ] {
        assert!(sources.contains(&format!("const u32 {constant}")), "{constant}");
    }
    for tile in [
        "<16, 32, 128, 1, 1, 4, 4> Tile16x32;",
        "<64, 32, 64, 1, 1, 4, 4> Tile64x32;",
        "<64, 128, 64, 2, 2, 1, 3> Tile64x128;",
        "<128, 128, 64, 2, 2, 1, 3> Tile128x128;",
        "Prefill<64, 64>>",
        "Prefill<128, 64>>",
        "Prefill<256, 32>>",
    ] {
        assert!(sources.contains(tile), "{tile}");
    }
}

/// `[rows, outputs]` of a tile, from its kernel's name.
fn tile_of(launch: Launch) -> [u32; 2] {
    let tile = launch.kernel.split('_').nth(1).unwrap();
    let (rows, outputs) = tile.split_once('x').unwrap();
    [rows.parse().unwrap(), outputs.parse().unwrap()]
}

#[test]
fn tiles_are_as_large_as_still_fills_a_device() {
    for (rows, outputs, expected) in [
        (9, 4096, [16, 32]),
        (16, 150_000, [16, 32]),
        (17, 4096, [64, 32]),
        (64, 28_672, [64, 128]),
        (128, 4096, [64, 32]),
        (256, 4096, [64, 128]),
        (512, 4096, [128, 128]),
        (512, 512, [64, 32]),
        (20, 64, [16, 32]),
    ] {
        let launch = linear::gemm(Format::Bf16, rows, outputs);
        assert_eq!(tile_of(launch), expected, "{rows} x {outputs}");
    }
}

/// What a device allows.
fn check(launch: Launch) {
    let [x, y, z] = launch.grid;
    assert!((1..1 << 31).contains(&x), "{launch:?}");
    assert!((1..65_536).contains(&y) && (1..65_536).contains(&z), "{launch:?}");
    let threads: u32 = launch.block.iter().product();
    assert!((1..=1024).contains(&threads) && launch.block[2] <= 64, "{launch:?}");
    assert!(launch.shared_bytes <= MOST_SHARED_BYTES, "{launch:?}");
}

fn shape(heads: u32, kv_heads: u32, head_dim: u32) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim, window: 0, scale: 1.0 }
}

/// One launch at least of each kernel.
fn all_launches() -> Vec<Launch> {
    let mut launches = vec![add(1), turns(1, 32), rope(1, 64), sampling::sample(1)];
    launches.extend([round(Format::F16, 1), round(Format::Bf16, 1)]);
    launches.push(attention::combine(shape(32, 8, 128), 1));
    for format in FORMATS {
        launches.extend([embed(format, 1, 64), rms_norm(format, 1, 64), append(format, 1, 64)]);
        launches.push(layer_norm(format, 1, 64));
        launches.push(attention::decode(format, shape(32, 8, 128), 1, 4));
        for rows in [1, 3] {
            launches.push(linear::gemv(format, rows, 64, &[64]));
            launches.push(linear::gemv_gated(format, rows, 64, 64));
        }
    }
    for format in [Format::F16, Format::Bf16] {
        launches.extend([1, 40, 250, 600].map(|rows| linear::gemm(format, rows, 4096)));
        let dims = [64, 128, 256];
        launches.extend(dims.map(|dim| attention::prefill(format, shape(4, 2, dim), 100)));
    }
    launches.extend(FORMATS.map(|format| linear::gemm_plain(format, 100, 100)));
    launches
}

fn source_texts() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|e| e == "cu" || e == "cuh"));
    sources.map(|path| fs::read_to_string(path).unwrap()).collect()
}

proptest! {
    #[test]
    fn rows_and_columns_are_covered_once(rows in 1_u32..5000, columns in 1_u32..200_000) {
        for launch in [append(Format::F32, rows, columns), rope(rows, 2 * columns)] {
            check(launch);
            prop_assert_eq!(launch.grid[0], rows);
            let threads = launch.grid[1] * launch.block[0];
            prop_assert!((columns..columns + launch.block[0]).contains(&threads));
        }
        for launch in [
            embed(Format::F16, rows, columns),
            rms_norm(Format::F32, rows, columns),
            layer_norm(Format::Bf16, rows, columns),
        ] {
            check(launch);
            prop_assert_eq!((launch.grid[0], launch.block[0] % WARP), (rows, 0));
        }
    }

    #[test]
    fn elements_are_covered(count in 0_u64..u64::MAX) {
        check(add(count));
        check(round(Format::Bf16, count));
    }

    #[test]
    fn groups_of_outputs_are_covered_once(
        rows in 1_u32..9,
        inputs in 1_u32..60_000,
        outputs in prop::collection::vec(1_u32..300_000, 1..4),
    ) {
        let launch = linear::gemv(Format::Bf16, rows, inputs, &outputs);
        check(launch);
        let groups: u32 = outputs.iter().map(|outputs| outputs.div_ceil(4)).sum();
        prop_assert_eq!(launch.grid[0], groups.div_ceil(launch.block[2]));
        prop_assert_eq!(launch.block.iter().product::<u32>(), 256);
        prop_assert_eq!(launch.grid[1], if rows == 1 { 1 } else { rows.div_ceil(4) });
        let launch = linear::gemv_gated(Format::F32, rows, inputs, outputs[0]);
        check(launch);
        prop_assert_eq!(launch.grid[0], outputs[0].div_ceil(2).div_ceil(launch.block[2]));
    }

    #[test]
    fn tiles_cover_the_output_once(rows in 1_u32..20_000, outputs in 1_u32..300_000) {
        let launch = linear::gemm(Format::F16, rows, outputs);
        check(launch);
        let [tile_rows, tile_outputs] = tile_of(launch);
        let grid = [rows.div_ceil(tile_rows), outputs.div_ceil(tile_outputs), 1];
        prop_assert_eq!(launch.grid, grid);
        let launch = linear::gemm_plain(Format::F32, rows, outputs);
        check(launch);
        prop_assert_eq!(launch.grid, [rows.div_ceil(64), outputs.div_ceil(64), 1]);
    }

    #[test]
    fn heads_are_covered_once(
        rows in 1_u32..5000,
        kv_heads in 1_u32..40,
        group in 1_u32..20,
        vectors in 1_u32..33,
        positions in 1_u32..200_000,
    ) {
        let shape = shape(kv_heads * group, kv_heads, 8 * vectors);
        let parts = attention::parts(shape, rows, positions);
        prop_assert!(parts == 1 || (parts - 1) * 64 < positions.next_power_of_two());
        let launch = attention::decode(Format::Bf16, shape, rows, parts);
        check(launch);
        prop_assert!(launch.shared_bytes <= PLAIN_SHARED_BYTES);
        prop_assert_eq!(launch.grid, [rows, kv_heads * group.div_ceil(4), parts]);
        check(attention::combine(shape, rows));
        let launch = attention::prefill(Format::F16, shape, rows);
        check(launch);
        prop_assert!(launch.shared_bytes <= PLAIN_SHARED_BYTES);
        prop_assert_eq!(launch.grid, [rows, kv_heads * group, 1]);
    }

    /// A recorded step can be run again while the longest context grows to the next power of two.
    #[test]
    fn parts_are_as_many_up_to_the_next_power_of_two(
        rows in 1_u32..64,
        kv_heads in 1_u32..40,
        window in 0_u32..5000,
        exponent in 0_u32..20,
        within in any::<prop::sample::Index>(),
    ) {
        let shape = AttentionShape { window, ..shape(4 * kv_heads, kv_heads, 128) };
        let (least, most) = ((1 << exponent) / 2 + 1, 1 << exponent);
        let between: Vec<u32> = (least..=most).collect();
        let between = *within.get(&between);
        let parts = |positions| attention::parts(shape, rows, positions);
        prop_assert_eq!(parts(between), parts(most));
    }
}
