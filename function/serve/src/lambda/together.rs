//! Several things at once, so that the engine has a batch to compute.

use std::panic::resume_unwind;

use tokio::task::JoinSet;

/// What each of `works` comes to, in their order. Dropping it gives up all of them.
pub(crate) async fn together<F>(works: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    for (n, work) in works.into_iter().enumerate() {
        // It is large, and would be part of whoever waits here.
        let work = Box::pin(work);
        if running.len() == AT_ONCE {
            done.extend(running.join_next().await);
        }
        running.spawn(async move { (n, work.await) });
    }
    while let Some(one) = running.join_next().await {
        done.push(one);
    }
    let mut done: Vec<_> = done
        .into_iter()
        .map(|one| one.unwrap_or_else(|error| resume_unwind(error.into_panic())))
        .collect();
    done.sort_unstable_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Enough for the engine's batches, and few enough to fit into its queue beside other requests.
pub(crate) const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn results_come_in_order_and_never_more_than_some_are_under_way() {
        let under_way = Arc::new(AtomicUsize::new(0));
        let results = together((0..100).map(|n| {
            let under_way = Arc::clone(&under_way);
            async move {
                assert!(under_way.fetch_add(1, Ordering::SeqCst) < AT_ONCE);
                for _ in 0..n % 7 {
                    yield_now().await;
                }
                under_way.fetch_sub(1, Ordering::SeqCst);
                n
            }
        }));
        assert_eq!(results.await, (0..100).collect::<Vec<_>>());
    }
}
