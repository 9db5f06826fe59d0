//! How much is served to whom. Pure: the time is passed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::tokens::Role;

/// Addresses that are remembered; beyond, the one that was wrong longest ago is forgotten.
const STRANGERS: usize = 4096;

/// Gains `rate` a second, up to `most`.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    most: f64,
    holds: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: f64, most: f64, at: Instant) -> Self {
        Self { rate, most, holds: most, at }
    }

    /// Takes one, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.holds = (self.holds + gained).min(self.most);
        self.at = now;
        if self.holds >= 1.0 {
            self.holds -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.holds) / self.rate))
    }
}

/// What has been taken.
pub(crate) struct Limits {
    rate: u32,
    bad_tokens: u32,
    served: HashMap<Role, Bucket>,
    strangers: HashMap<IpAddr, Bucket>,
}

impl Limits {
    /// `rate` requests a second to each token; `bad_tokens` wrong ones a minute from each address.
    pub fn new(rate: u32, bad_tokens: u32) -> Self {
        Self { rate, bad_tokens, served: HashMap::new(), strangers: HashMap::new() }
    }

    /// A request with a good token; else when to come again.
    pub fn serve(&mut self, role: Role, now: Instant) -> Result<(), Duration> {
        let rate = f64::from(self.rate);
        self.served.entry(role).or_insert_with(|| Bucket::full(rate, rate, now)).take(now)
    }

    /// A request with a wrong token; else when to come again. A good one is served whatever came from the same address
    /// before: behind a proxy everybody has the same, and nobody must be able to lock the operator out. A token of 16
    /// characters is not guessed at any rate.
    pub fn refuse(&mut self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let from = network(from);
        if self.strangers.len() >= STRANGERS && !self.strangers.contains_key(&from) {
            let longest_ago = self.strangers.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(forgotten) = longest_ago.map(|(address, _)| *address) {
                self.strangers.remove(&forgotten);
            }
        }
        let most = f64::from(self.bad_tokens);
        self.strangers.entry(from).or_insert_with(|| Bucket::full(most / 60.0, most, now)).take(now)
    }
}

/// Whoever has an address of IPv6 has all 2^64 of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn so_many_wrong_tokens_a_minute_from_each_address() {
        let (mut limits, now) = (Limits::new(1, 3), Instant::now());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..3 {
            limits.refuse(one, now).unwrap();
        }
        assert_eq!(limits.refuse(one, now), Err(Duration::from_secs(20)));
        limits.refuse(other, now).unwrap();
        limits.refuse(one, now + Duration::from_secs(20)).unwrap();
        assert!(limits.refuse(one, now + Duration::from_secs(21)).is_err());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() {
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:1")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn the_addresses_are_bounded_and_who_was_wrong_lately_is_not_forgotten() {
        let (mut limits, now) = (Limits::new(1, 1), Instant::now());
        for number in 0..3 * STRANGERS as u32 {
            let _ =
                limits.refuse(IpAddr::from(number.to_be_bytes()), now + Duration::from_millis(number.into()));
            let _ = limits.refuse(address("192.0.2.1"), now + Duration::from_millis(number.into()));
        }
        assert_eq!(limits.strangers.len(), STRANGERS);
        assert!(limits.refuse(address("192.0.2.1"), now + Duration::from_secs(12)).is_err());
    }

    proptest! {
        #[test]
        fn no_more_than_the_rate_and_one_full_bucket_are_served(
            rate in 1..50_u32,
            pauses in prop::collection::vec(0..400_u64, 1..300),
        ) {
            let (mut limits, began) = (Limits::new(rate, 1), Instant::now());
            let (mut now, mut served) = (began, 0_u32);
            for pause in pauses {
                now += Duration::from_millis(pause);
                match limits.serve(Role::Read, now) {
                    Ok(()) => served += 1,
                    // Whoever comes when told is served.
                    Err(wait) => {
                        now += wait + Duration::from_micros(1);
                        prop_assert!(limits.serve(Role::Read, now).is_ok());
                        served += 1;
                    }
                }
            }
            let most = f64::from(rate) * (1.0 + (now - began).as_secs_f64());
            prop_assert!(f64::from(served) <= most + 0.01, "{} > {}", served, most);
        }
    }
}
