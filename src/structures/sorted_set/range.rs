//! What part of a sorted set is meant: by score, or by member where all scores are the same.

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// Lowest score.
    pub min: f64,
    /// Highest score.
    pub max: f64,
    /// The lowest is not meant.
    pub min_exclusive: bool,
    /// The highest is not meant.
    pub max_exclusive: bool,
}

impl ScoreRange {
    /// Every score.
    pub const ALL: ScoreRange = ScoreRange {
        min: f64::NEG_INFINITY,
        max: f64::INFINITY,
        min_exclusive: false,
        max_exclusive: false,
    };

    /// Scores from `min` to `max`, both meant.
    #[cfg(test)]
    pub fn inclusive(min: f64, max: f64) -> ScoreRange {
        ScoreRange {
            min,
            max,
            ..ScoreRange::ALL
        }
    }
    /// Whether a score is not too low.
    pub fn reaches(&self, score: f64) -> bool {
        if self.min_exclusive {
            score > self.min
        } else {
            score >= self.min
        }
    }
    /// Whether a score is not too high.
    pub fn keeps(&self, score: f64) -> bool {
        if self.max_exclusive {
            score < self.max
        } else {
            score <= self.max
        }
    }
    /// Whether no score can be in it.
    pub fn is_empty(&self) -> bool {
        let open = self.min_exclusive || self.max_exclusive;
        self.min > self.max || (self.min == self.max && open)
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before every member (`-`).
    Lowest,
    /// Behind every member (`+`).
    Highest,
    /// This member, which is meant too (`[`).
    Including(&'a [u8]),
    /// This member, which is not meant (`(`).
    Excluding(&'a [u8]),
}

/// A range of members in the order of their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// Lower end.
    pub min: LexBound<'a>,
    /// Upper end.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether a member is not too low.
    pub fn reaches(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Including(min) => member >= min,
            LexBound::Excluding(min) => member > min,
        }
    }
    /// Whether a member is not too high.
    pub fn keeps(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Including(max) => member <= max,
            LexBound::Excluding(max) => member < max,
        }
    }
    /// Whether no member can be in it.
    pub fn is_empty(&self) -> bool {
        use LexBound::{Excluding, Highest, Including, Lowest};
        match (self.min, self.max) {
            // Redis compares the ends first: equal ones are empty unless both are meant, and "-" and "+" count as so.
            (Lowest, _) | (_, Highest) => false,
            (Highest, _) | (_, Lowest) => true,
            (Including(min), Including(max)) => min > max,
            (Including(min) | Excluding(min), Including(max) | Excluding(max)) => min >= max,
        }
    }
}
