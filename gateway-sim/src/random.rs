//! A small seeded generator of random numbers: xoshiro256++ seeded by splitmix64, both by Blackman and Vigna
//! (<https://prng.di.unimi.it>). Not for secrets.

/// A stream of random numbers that a seed determines.
///
/// ```
/// use gateway_sim::random::Random;
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert_eq!(one.next_u64(), other.next_u64());
/// assert!(one.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut counter = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut counter)) }
    }

    /// The stream of this seed and a number within it, for streams that must not depend on one another.
    #[must_use]
    pub fn stream(seed: u64, number: u64) -> Self {
        let mut counter = seed;
        let mixed = split_mix(&mut counter);
        Self::new(mixed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number from 0 to below `bound`, biased by at most `bound / 2^64`; 0 for a bound of 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    #[inline]
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number in (0, 1].
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

fn split_mix(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*counter ^ (*counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn first_numbers_are_those_of_the_reference() {
        // From the reference code of splitmix64 with seed 0.
        let mut counter = 0;
        assert_eq!(super::split_mix(&mut counter), 0xe220_a839_7b1d_cdaf);
        // From the reference code of xoshiro256++ with state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!(random.next_u64(), 41_943_041);
        assert_eq!(random.next_u64(), 58_720_359);
    }

    #[test]
    fn numbers_keep_to_their_range() {
        let mut random = Random::stream(1, 2);
        for _ in 0..10_000 {
            assert!((3..=9).contains(&random.between(3, 9)));
            let unit = random.unit();
            assert!(unit > 0.0 && unit <= 1.0);
        }
    }
}
