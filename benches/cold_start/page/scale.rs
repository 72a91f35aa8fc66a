//! Where a value lies on an axis, and which round values are written below it.

/// From `low` to `high`, both positive: by their logarithms where they are far apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    /// Holds all of `values`, positive ones, with some air. `least` is where it begins at the latest.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>, least: f64) -> Self {
        let (low, high) = values
            .into_iter()
            .fold((least, 0.0), |(low, high), value| (value.min(low), value.max(high)));
        let logarithmic = high > low * FAR;
        let air = if logarithmic { high * 0.1 } else { ((high - low) * 0.05).max(high * 0.002) };
        let low = if logarithmic { low * 0.92 } else { low - air };
        Self { low, high: high + air, logarithmic }
    }

    /// 0 to 1.
    pub(crate) fn position(self, value: f64) -> f64 {
        let Self { low, high, logarithmic } = self;
        if logarithmic {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        }
    }

    /// Round values within it: about eight, or 1, 2 and 5 of each decade.
    pub(crate) fn ticks(self) -> Vec<f64> {
        let Self { low, high, logarithmic } = self;
        let decade = |value: f64| 10_f64.powf(value.log10().floor());
        let ticks: Vec<f64> = if logarithmic {
            let decades = std::iter::successors(Some(decade(low)), |decade| Some(decade * 10.0));
            let decades = decades.take_while(|decade| *decade <= high);
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * decade)).collect()
        } else {
            let rough = (high - low) / TICKS;
            let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade(rough));
            let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
            let first = (low / step).ceil();
            (0..20).map(|n| (first + f64::from(n)) * step).collect()
        };
        ticks.into_iter().filter(|tick| (low..=high).contains(tick)).collect()
    }
}

/// Values that differ by more are drawn by their logarithms.
const FAR: f64 = 5.0;

const TICKS: f64 = 8.0;
