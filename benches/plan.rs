//! What planning adds to a cold start: heads to a manifest, and a manifest to fetches.
//!
//! Two models of published shapes, without their bytes: 8 billion parameters in one object of 291
//! tensors, and 70 billion in 30 shards of 723 with an index. They are bf16, and written in the
//! order of the names, as transformers saves them.
//!
//! Both parts run after the heads have arrived and before the first range is asked for, so they are
//! on the critical path: they should be small beside one round trip, 30 ms.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use firstlight_plan::{Dtype, Head, Header, Index, Limits, Manifest, Plan, Shard, Stage, Want};

criterion_group! {
    name = benches;
    // A run of a few seconds: the work is pure, so ten samples agree.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = one_object, thirty_shards
}
criterion_main!(benches);

fn one_object(criterion: &mut Criterion) {
    let model = Model { layers: 32, hidden: 4096, inner: 14336 };
    let files = Files::write(&model.stages(), 1);
    measure(criterion, "8B, 291 tensors", &model, &files);
}

fn thirty_shards(criterion: &mut Criterion) {
    let model = Model { layers: 80, hidden: 8192, inner: 28672 };
    let files = Files::write(&model.stages(), 30);
    measure(criterion, "70B, 723 tensors in 30 shards", &model, &files);
}

fn measure(criterion: &mut Criterion, name: &str, model: &Model, files: &Files) {
    let stages = model.stages();
    let limits = Limits::new(&[Dtype::BF16]);
    let manifest = files.manifest();
    let plan = || Plan::new(black_box(&manifest), &stages, &limits).expect("a plan");
    assert_eq!(plan().weight_bytes(), manifest.weight_bytes(), "every tensor is wanted");

    let mut group = criterion.benchmark_group(name);
    group.bench_function("parse", |bench| bench.iter(|| black_box(files).manifest()));
    group.bench_function("plan", |bench| bench.iter(plan));
    group.finish();
}

/// A Llama.
struct Model {
    layers: usize,
    hidden: u64,
    inner: u64,
}

impl Model {
    /// In execution order.
    fn stages(&self) -> Vec<Stage> {
        let ends = |name: &str, tensors| Stage { name: name.into(), tensors };
        let mut stages = vec![ends("embedding", vec![self.table("model.embed_tokens.weight")])];
        stages.extend((0..self.layers).map(|layer| self.layer(layer)));
        let norm = Want { name: "model.norm.weight".into(), shape: vec![self.hidden] };
        stages.push(ends("head", vec![norm, self.table("lm_head.weight")]));
        stages
    }

    fn table(&self, name: &str) -> Want {
        Want { name: name.into(), shape: vec![128_256, self.hidden] }
    }

    fn layer(&self, layer: usize) -> Stage {
        let (hidden, inner, keys) = (self.hidden, self.inner, 1024);
        let want = |(name, shape): (&str, &[u64])| Want {
            name: format!("model.layers.{layer}.{name}.weight"),
            shape: shape.into(),
        };
        let tensors: [(&str, &[u64]); 9] = [
            ("input_layernorm", &[hidden]),
            ("self_attn.q_proj", &[hidden, hidden]),
            ("self_attn.k_proj", &[keys, hidden]),
            ("self_attn.v_proj", &[keys, hidden]),
            ("self_attn.o_proj", &[hidden, hidden]),
            ("post_attention_layernorm", &[hidden]),
            ("mlp.gate_proj", &[inner, hidden]),
            ("mlp.up_proj", &[inner, hidden]),
            ("mlp.down_proj", &[hidden, inner]),
        ];
        Stage { name: format!("layer {layer}"), tensors: tensors.map(want).into() }
    }
}

/// The heads of a model's shards and its index.
struct Files {
    shards: Vec<File>,
    index: String,
}

struct File {
    name: String,
    head: Vec<u8>,
    size: u64,
}

impl Files {
    /// Shares the tensors out among `count` shards of about as many tensors each.
    fn write(stages: &[Stage], count: usize) -> Self {
        let mut wants: Vec<&Want> = stages.iter().flat_map(|stage| &stage.tensors).collect();
        wants.sort_by(|a, b| a.name.cmp(&b.name));
        let mut index = String::from(r#"{"metadata":{},"weight_map":{"#);
        let mut shards = Vec::new();
        for (i, wants) in wants.chunks(wants.len().div_ceil(count)).enumerate() {
            let shard = File::write(format!("model-{:05}-of-{count:05}.safetensors", i + 1), wants);
            for want in wants {
                write!(index, r#""{}":"{}","#, want.name, shard.name).expect("a string grows");
            }
            shards.push(shard);
        }
        index.pop();
        Self { shards, index: index + "}}" }
    }

    fn manifest(&self) -> Manifest {
        let index = Index::parse("model.safetensors.index.json", self.index.as_bytes());
        let shards = self.shards.iter().map(File::parse).collect();
        Manifest::new(shards, Some(&index.expect("an index"))).expect("files that agree")
    }
}

impl File {
    fn write(name: String, wants: &[&Want]) -> Self {
        let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
        let mut begin = 0;
        for Want { name, shape } in wants {
            let end = begin + 2 * shape.iter().product::<u64>();
            write!(
                json,
                r#","{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
            )
            .expect("a string grows");
            begin = end;
        }
        json.push('}');
        let mut head = (json.len() as u64).to_le_bytes().to_vec();
        head.extend(json.as_bytes());
        Self { name, size: head.len() as u64 + begin, head }
    }

    fn parse(&self) -> Shard {
        match Header::parse(&self.name, &self.head, self.size) {
            Ok(Head::Complete(header)) => {
                Shard { name: self.name.clone(), size: self.size, header }
            }
            other => panic!("{other:?}"),
        }
    }
}
