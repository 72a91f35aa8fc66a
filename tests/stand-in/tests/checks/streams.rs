//! Streams, events and the host: what is ordered passes under every schedule, what is not is reported under every one.

use firstlight_stand_in::Schedule;

use crate::device::{Address, Device, Packed, Pinned, Stream};

const SCHEDULES: [Schedule; 5] = [
    Schedule::Eager,
    Schedule::Lazy,
    Schedule::Random(1),
    Schedule::Random(2),
    Schedule::Random(3),
];

const ONES: [f32; 64] = [1.0; 64];
const TWOS: [f32; 64] = [2.0; 64];

/// A sum that grows by weights that arrive: what a load does, layer by layer.
struct Load {
    device: Device,
    copying: Stream,
    computing: Stream,
    sum: Address,
    weights: Address,
    slot: Pinned,
}

impl Load {
    fn new(schedule: Schedule) -> Self {
        let device = Device::new(schedule);
        let [copying, computing] = device.streams;
        let (sum, weights) = (device.upload(&[0.0_f32; 64]), device.allocate(256));
        let slot = device.pinned(&ONES);
        Self { device, copying, computing, sum, weights, slot }
    }

    fn copy(&self) {
        self.device.copy(self.copying, self.weights, self.slot).unwrap();
    }

    fn add(&self) {
        let arguments = Packed::default().pointer(self.sum).pointer(self.weights).number(64);
        // A failure that came earlier, under the eager schedule, is looked at later.
        let _ = self.device.launch(self.computing, "plus", 1, 64, arguments);
    }

    fn order(&self, first: Stream, second: Stream) {
        let event = self.device.event();
        self.device.record(event, first);
        self.device.wait_event(second, event);
    }

    fn sum(&self) -> f32 {
        let sums: Vec<f32> = self.device.download(self.computing, self.sum, 64).unwrap();
        assert!(sums.iter().all(|&sum| sum.to_bits() == sums[0].to_bits()));
        sums[0]
    }

    fn fails(&self) -> String {
        let waited = self.device.wait(self.computing);
        assert!(waited.is_err() || self.device.wait(self.copying).is_err());
        self.device.report()
    }
}

#[test]
fn copies_that_are_waited_for_are_fine() {
    for schedule in SCHEDULES {
        let load = Load::new(schedule);
        load.device.stand_in.reset();
        load.copy();
        load.order(load.copying, load.computing);
        load.add();
        load.order(load.computing, load.copying);
        let copied = load.device.event();
        load.device.record(copied, load.copying);
        load.device.synchronize(copied).unwrap();
        load.slot.fill(&TWOS);
        load.copy();
        load.order(load.copying, load.computing);
        load.add();
        assert_eq!(load.sum().to_bits(), 3.0_f32.to_bits());
        load.device.assert_no_report();
        let counters = load.device.stand_in.counters();
        assert_eq!(
            (counters.kernels, counters.copies_to_device, counters.bytes_to_device),
            (2, 2, 512)
        );
        assert_eq!((counters.event_synchronizes, counters.stream_synchronizes), (1, 1));
        assert_eq!((counters.device_synchronizes, counters.default_stream_work), (0, 0));
        assert_eq!(counters.pageable_copies, 1, "the result came into a vector");
    }
}

#[test]
fn a_removed_event_wait_is_reported() {
    for schedule in SCHEDULES {
        let load = Load::new(schedule);
        load.copy();
        load.add();
        let report = load.fails();
        assert!(report.contains("a race") || report.contains("nobody has written it"), "{report}");
    }
}

#[test]
fn weights_that_are_overwritten_in_use_are_reported() {
    for schedule in SCHEDULES {
        let load = Load::new(schedule);
        load.copy();
        load.order(load.copying, load.computing);
        load.add();
        // Here the copying stream should wait for the computing one. The eager schedule reports it at once.
        let _ = load.device.copy(load.copying, load.weights, load.slot);
        let report = load.fails();
        assert!(report.contains("a race"), "{report}");
    }
}

#[test]
fn a_slot_that_is_filled_too_early_is_reported() {
    for schedule in SCHEDULES {
        let load = Load::new(schedule);
        load.copy();
        load.slot.fill(&TWOS);
        let report = load.fails();
        assert!(
            report.contains("was written while `copy of 256 bytes to the device` was in flight"),
            "{report}"
        );
    }
}

#[test]
fn pinned_memory_that_ends_too_early_is_reported() {
    for schedule in SCHEDULES {
        let load = Load::new(schedule);
        load.copy();
        // SAFETY: it was allocated so.
        let freed = unsafe { cudarc::driver::result::free_host(load.slot.start.cast()) };
        assert!(freed.is_err());
        assert!(load.device.report().contains("cuMemFreeHost of host memory while"));
    }
}

#[test]
fn nothing_runs_before_it_is_waited_for() {
    let load = Load::new(Schedule::Lazy);
    load.device.stand_in.reset();
    load.copy();
    load.order(load.copying, load.computing);
    load.add();
    assert_eq!(load.device.stand_in.counters().kernels, 0);
    load.device.wait(load.computing).unwrap();
    assert_eq!(load.device.stand_in.counters().kernels, 1);
    assert_eq!(
        load.device.stand_in.journal().iter().filter(|line| line.starts_with("run")).count(),
        2
    );
}

#[test]
fn who_asks_often_enough_gets_there() {
    for schedule in SCHEDULES {
        let load = Load::new(schedule);
        load.copy();
        let event = load.device.event();
        load.device.record(event, load.copying);
        assert!((0..10).any(|_| load.device.is_reached(event)));
        load.slot.fill(&TWOS);
        load.device.wait(load.copying).unwrap();
        load.device.assert_no_report();
    }
}

#[test]
fn a_graph_does_it_again() {
    for schedule in SCHEDULES {
        let load = Load::new(schedule);
        load.copy();
        load.device.wait(load.copying).unwrap();
        let graph = load.device.capture(load.computing, || {
            load.add();
            load.order(load.computing, load.copying);
            load.order(load.copying, load.computing);
            load.add();
        });
        for _ in 0..3 {
            load.device.replay(graph, load.computing);
        }
        assert_eq!(load.sum().to_bits(), 6.0_f32.to_bits());
        load.device.assert_no_report();
    }
}
