//! How the elements of a dict are spread over its buckets.

use super::{Dict, Element};

/// Figures of a dict's shape, for DEBUG HTSTATS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Elements in the dict.
    pub elements: usize,
    /// Buckets in use.
    pub buckets: usize,
    /// Buckets without an element.
    pub empty_buckets: usize,
    /// Nodes behind the buckets.
    pub chain_nodes: usize,
    /// Bytes of those nodes.
    pub chain_bytes: usize,
    /// Most nodes behind one bucket.
    pub max_chain: usize,
    /// All memory of the dict, without the elements.
    pub bytes: usize,
    /// How many buckets hold 0, 1, 2, ... elements.
    pub histogram: Vec<usize>,
    /// Nodes read to find each element once, summed: divided by `elements`, the lines per hit.
    pub nodes_for_all_hits: usize,
}

impl<E: Element> Dict<E> {
    /// Figures of the dict's shape. Reads every bucket.
    pub fn distribution(&self) -> Distribution {
        let mut found = Distribution {
            elements: self.len,
            buckets: self.directory.len(),
            chain_nodes: self.chains.nodes,
            chain_bytes: self.chains.bytes,
            bytes: self.memory_bytes(),
            ..Distribution::default()
        };
        for index in 0..self.directory.len() {
            let bucket = self.directory.bucket(index);
            let mut population = 0;
            for (depth, node) in bucket.chain().enumerate() {
                population += node.count();
                found.nodes_for_all_hits += node.count() * (depth + 1);
                found.max_chain = found.max_chain.max(depth);
            }
            if population == 0 {
                found.empty_buckets += 1;
            }
            if found.histogram.len() <= population {
                found.histogram.resize(population + 1, 0);
            }
            found.histogram[population] += 1;
        }
        found
    }
}
