//! What is done by the clock: connecting, pinging, suspecting; and whether the cluster works.

use super::*;

impl Cluster {
    /// To be called every 100 ms.
    pub fn tick(&mut self, facts: &Facts) {
        self.facts = *facts;
    }
    /// To be called at the end of each turn.
    pub fn before_sleep(&mut self, facts: &Facts) {
        self.facts = *facts;
    }
}
