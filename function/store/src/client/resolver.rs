//! One look-up of a name for all connections. The system's resolver keeps nothing, so that a load over 16 connections
//! asks 16 times; S3 answers with up to eight addresses, and each further connection begins with the next one, which
//! spreads the load as AWS advises.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;
use tokio::time::{Duration, Instant};

/// S3 changes its answers every few seconds to move load around; a load takes about as long.
const KEEP: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Resolver {
    answers: Mutex<HashMap<String, Arc<Answer>>>,
    turn: AtomicUsize,
}

struct Answer {
    asked: Instant,
    addresses: OnceCell<Vec<IpAddr>>,
}

impl Resolver {
    /// The addresses of `name`, each time beginning with another one.
    pub(super) async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let answer = self.answer(name);
        let mut addresses = answer.addresses.get_or_try_init(|| look_up(name)).await?.clone();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
        addresses.rotate_left(turn);
        Ok(addresses)
    }

    /// The answer that is being waited for or still fresh. A failed look-up leaves its cell empty: the next one asks.
    fn answer(&self, name: &str) -> Arc<Answer> {
        let mut answers = self.answers.lock().expect("no holder panics");
        let fresh = answers.get(name).filter(|answer| answer.asked.elapsed() < KEEP);
        if let Some(answer) = fresh {
            return Arc::clone(answer);
        }
        let answer = Arc::new(Answer { asked: Instant::now(), addresses: OnceCell::new() });
        answers.insert(name.to_owned(), Arc::clone(&answer));
        answer
    }
}

async fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_its_addresses_take_turns() {
        let resolver = Resolver::default();
        let first = resolver.answer("localhost");
        let found = resolver.resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
        assert!(Arc::ptr_eq(&first, &resolver.answer("localhost")));
        first.addresses.get().expect("filled by the look-up above");
    }

    #[tokio::test]
    async fn turns_rotate() {
        let resolver = Resolver::default();
        let addresses: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        resolver.answer("two").addresses.set(addresses.clone()).unwrap();
        let first = resolver.resolve("two").await.unwrap();
        let second = resolver.resolve("two").await.unwrap();
        assert_eq!(first, addresses);
        assert_eq!(second, [addresses[1], addresses[0]]);
    }
}
