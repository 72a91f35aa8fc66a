//! The order of pulling and computing, on a device that computes nothing and keeps a log.

use std::{cell::RefCell, ops::Range, rc::Rc};

use firstlight_device::{Device, Draw, Error, Gelu, Linear, Mask, Norm, Span, Tensor};

use super::{Alone, Fixture, settings};
use crate::{Decoder, Group, PromptRows, StageOrder};

type Log = Rc<RefCell<Vec<String>>>;

/// Activations and caches are their number of rows.
struct Trace(Log);

type Rows = usize;

impl Trace {
    fn log(&self, event: String) {
        self.0.borrow_mut().push(event);
    }
}

impl Device for Trace {
    type Tensor = ();
    type Activations = Rows;
    type KvCache = Rows;
    type Positions = Range<usize>;

    fn upload(&self, _: &Tensor) -> Result<(), Error> {
        Ok(())
    }

    fn activations(&self, rows: usize, _: usize) -> Result<Rows, Error> {
        Ok(rows)
    }

    fn kv_cache(&self, _: usize, _: usize, _: usize) -> Result<Rows, Error> {
        Ok(0)
    }

    fn positions(&self, _: usize, _: usize, _: &[f32]) -> Result<Range<usize>, Error> {
        Ok(0..0)
    }

    fn set_rows(&self, x: &mut Rows, rows: usize) {
        *x = rows;
    }

    fn embed(&self, (): &(), ids: &[u32], x: &mut Rows) -> Result<(), Error> {
        assert_eq!(ids.len(), *x);
        self.log(format!("embed {x}"));
        Ok(())
    }

    fn rms_norm(&self, x: &Rows, (): &(), _: f32, out: &mut Rows) -> Result<(), Error> {
        assert_eq!(x, out);
        Ok(())
    }

    fn rms_norm_in_place(&self, _: &mut Rows, (): &(), _: f32) -> Result<(), Error> {
        Ok(())
    }

    fn linear(&self, x: &Rows, _: Linear<'_, ()>, out: &mut Rows) -> Result<(), Error> {
        assert_eq!(x, out);
        Ok(())
    }

    fn linear_all(
        &self,
        x: &Rows,
        products: &mut [(Linear<'_, ()>, &mut Rows)],
    ) -> Result<(), Error> {
        assert!(products.iter().all(|(_, out)| *out == x));
        Ok(())
    }

    fn linear_add(&self, x: &Rows, _: Linear<'_, ()>, out: &mut Rows) -> Result<(), Error> {
        assert_eq!(x, out);
        Ok(())
    }

    fn gated(
        &self,
        x: &Rows,
        _: Linear<'_, ()>,
        _: Linear<'_, ()>,
        out: &mut Rows,
    ) -> Result<(), Error> {
        assert_eq!(x, out);
        Ok(())
    }

    fn layer_norm(&self, _: &mut Rows, _: Norm<'_, ()>, _: f32) -> Result<(), Error> {
        unreachable!("decoders have other norms")
    }

    fn add(&self, _: &mut Rows, _: &Rows) -> Result<(), Error> {
        unreachable!("products add to the residual stream themselves")
    }

    fn linear_gelu(&self, _: &Rows, _: Linear<'_, ()>, _: Gelu, _: &mut Rows) -> Result<(), Error> {
        unreachable!("decoders have gates")
    }

    fn set_positions(&self, x: &mut Range<usize>, spans: &[Span<'_>]) -> Result<(), Error> {
        let &[Span { first, rows, .. }] = spans else { panic!("one sequence") };
        *x = first..first + rows;
        self.log(format!("turn {rows} from {first}"));
        Ok(())
    }

    fn rope(&self, x: &mut Rows, positions: &Range<usize>) -> Result<(), Error> {
        assert_eq!(*x, positions.len());
        Ok(())
    }

    fn append(
        &self,
        keys: &Rows,
        values: &Rows,
        positions: &Range<usize>,
        cache: &mut Rows,
    ) -> Result<(), Error> {
        assert_eq!((keys, positions.start), (values, *cache));
        *cache += keys;
        Ok(())
    }

    fn attention(
        &self,
        queries: &Rows,
        cache: &Rows,
        positions: &Range<usize>,
        _: f32,
        _: Mask,
        out: &mut Rows,
    ) -> Result<(), Error> {
        assert_eq!((queries, positions.end), (&*out, *cache));
        self.log(format!("attend {queries} to {cache}"));
        Ok(())
    }

    fn copy_rows(
        &self,
        x: &Rows,
        rows: Range<usize>,
        out: &mut Rows,
        to: usize,
    ) -> Result<(), Error> {
        assert!(rows.end <= *x && rows.len() == 1 && (*out, to) == (1, 0));
        self.log(format!("last row is {} of {x}", rows.start));
        Ok(())
    }

    fn draw(&self, _: &Rows, _: &[Option<Draw>]) -> Result<Vec<Option<u32>>, Error> {
        unreachable!("no token is chosen")
    }

    fn read(&self, _: &Rows) -> Result<Vec<f32>, Error> {
        Ok(Vec::new())
    }
}

/// What makes a cold start as long as the load: no layer is asked for before the one below it was
/// computed for the whole prompt, and nothing waits for a later one.
#[test]
fn each_layer_is_pulled_when_the_one_before_is_computed() {
    let fixture = Fixture::read("llama-untied");
    let order = StageOrder::LayersFirst;
    let log = Log::default();
    let record = Rc::clone(&log);
    let groups = fixture.spec.stages(order).into_iter().map(move |stage| {
        record.borrow_mut().push(format!("pull {}", stage.name));
        let tensors = stage.tensors.into_iter().map(|tensor| (tensor.name, ())).collect();
        Ok::<_, std::io::Error>(Group { stage: stage.name, tensors })
    });
    let device = Trace(Rc::clone(&log));
    let decoder = Decoder::new(device, fixture.spec, settings(order, 1, 4), groups).unwrap();
    let mut decoder = Alone::new(decoder);
    decoder.decoder.give_rows(PromptRows { table: (), ids: vec![3, 5] });

    decoder.forward(&[3, 5, 3, 5, 3, 5]).unwrap();
    let mut expected =
        ["embed 4", "turn 4 from 0", "embed 2", "turn 2 from 4"].map(str::to_owned).to_vec();
    for k in 0..4 {
        expected.push(format!("pull layer {k}"));
        expected.extend(["attend 4 to 4", "attend 2 to 6"].map(str::to_owned));
    }
    expected.extend(["pull head", "last row is 1 of 2"].map(str::to_owned));
    assert_eq!(log.take(), expected);

    decoder.forward(&[7]).unwrap();
    let mut expected = vec!["pull embeddings", "embed 1", "turn 1 from 6"];
    expected.extend(["attend 1 to 7"; 4]);
    expected.push("last row is 0 of 1");
    assert_eq!(log.take(), expected);
}
