//! One placement, one drag and one filled pool, at several sizes: `cargo bench -p pool`.

mod synthetic;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pool::Pool;
use pool::placing::{Policy, Subject, choose, choose_machine, passes, verdicts};
use pool::state::{InstanceIndex, MachineIndex};

const SIZES: [usize; 3] = [10, 100, 1_000];

#[expect(
    clippy::panic,
    reason = "a made-up inventory that is not valid is a defect of the benchmark"
)]
fn empty(machines: usize) -> Pool {
    Pool::new(&synthetic::inventory(machines, 7), 0).unwrap_or_else(|err| panic!("{err}"))
}

fn filled(machines: usize) -> Pool {
    let mut pool = empty(machines);
    fill(&mut pool);
    pool
}

fn fill(pool: &mut Pool) {
    let policy = Policy::default();
    let instances: Vec<InstanceIndex> = pool.instances().map(|(instance, _)| instance).collect();
    for instance in instances {
        pool.refresh_index();
        if let Some(machine) = choose_machine(&Subject::of(pool, instance), &policy) {
            pool.seat(instance, machine);
        }
    }
}

fn placing(criterion: &mut Criterion) {
    let policy = Policy::default();
    let mut group = criterion.benchmark_group("placing");
    for machines in SIZES {
        let mut pool = filled(machines);
        pool.refresh_index();
        let asked = pool.instance(InstanceIndex(1)).asked.clone();
        let subject = Subject::new(&pool, &asked);
        group.bench_function(BenchmarkId::new("passes", machines), |bencher| {
            bencher.iter(|| passes(&subject.on(MachineIndex(3))));
        });
        group.bench_function(BenchmarkId::new("choose", machines), |bencher| {
            bencher.iter(|| choose(&subject, &policy));
        });
        group.bench_function(BenchmarkId::new("verdicts", machines), |bencher| {
            bencher.iter(|| verdicts(&subject, &policy));
        });
    }
    group.finish();
}

fn filling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filling");
    group.sample_size(10);
    for machines in SIZES {
        let empty = empty(machines);
        group.bench_function(BenchmarkId::from_parameter(machines), |bencher| {
            bencher.iter_batched(
                || empty.clone(),
                |mut pool| fill(&mut pool),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, placing, filling);
criterion_main!(benches);
