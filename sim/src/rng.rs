//! The simulator's only source of chance: xoshiro256**, seeded by SplitMix64.
//!
//! Our own 30 lines, because the numbers must stay the same over versions of libraries (`rand` documents that its `StdRng` may
//! change with any release), and because no crate of ours needs a random generator outside of tests. Not for secrets.
//! Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Rng {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng { state: [next(), next(), next(), next()] }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let out = self.state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.state[1] << 17;
        self.state[2] ^= self.state[0];
        self.state[3] ^= self.state[1];
        self.state[1] ^= self.state[2];
        self.state[0] ^= self.state[3];
        self.state[2] ^= shifted;
        self.state[3] = self.state[3].rotate_left(45);
        out
    }

    /// Uniform in `0..bound`, which must not be 0. (By multiplication; the bias is below bound / 2^64.)
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Uniform in (0, 1]: never 0, so that its logarithm exists.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller; one of the pair is thrown away.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Lognormal with this median, and this standard deviation of the logarithm.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// The index of a weight, each as often as it weighs. `weights` must not be all zero.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.len() - 1
    }

    /// Puts the items into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_sequence() {
        // SplitMix64 from 0 begins with these (Vigna's reference code), so the state is what that prints.
        assert_eq!(Rng::new(0).state[0], 0xe220_a839_7b1d_cdaf);
        assert_eq!(Rng::new(0).state[1], 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(Rng { state: [1, 2, 3, 4] }.bits(), 11_520);
    }

    #[test]
    fn the_lognormal_has_its_median_and_mean() {
        let mut rng = Rng::new(7);
        let mut draws: Vec<f64> = (0..100_000).map(|_| rng.lognormal(2000.0, 0.8)).collect();
        draws.sort_by(f64::total_cmp);
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((draws[50_000] - 2000.0).abs() < 20.0, "{}", draws[50_000]);
        assert!((mean - 2000.0 * (0.32_f64).exp()).abs() < 30.0, "{mean}");
    }

    #[test]
    fn a_shuffle_loses_nothing_and_every_item_comes_first_as_often() {
        let mut rng = Rng::new(1);
        let mut firsts = [0_u32; 5];
        for _ in 0..10_000 {
            let mut items = [0_usize, 1, 2, 3, 4];
            rng.shuffle(&mut items);
            firsts[items[0]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3, 4]);
        }
        assert!(firsts.iter().all(|count| (1850..2150).contains(count)), "{firsts:?}");
    }
}
