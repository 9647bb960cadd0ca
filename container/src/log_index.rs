//! The index of a log (`log.index`, beside `log`): when which bytes of it came. For people; nothing is decided by it.
//!
//! Format, little-endian: a header of 16 bytes (the magic, the divisor of [`Spacing`] as u32, four zero bytes), then records of 16 bytes: an offset in
//! the log, and the time at which the byte there was read, in milliseconds since 1970. Offsets grow; times never fall, since the wall clock
//! is read once and the boot-time clock counts from there. What is not a whole record at the end was cut off and is nothing. A new format
//! takes a new magic; a reader that does not know it shows no times.

/// First bytes of an index.
const MAGIC: [u8; 8] = *b"shoalix1";
/// Bytes of the header, and of a record.
const UNIT: usize = 16;
/// Records are never nearer to each other than this.
const SPACING_MIN_MS: u64 = 50;
/// Of an index of a small log.
const RECORDS_MIN: u64 = 1024;
/// A record for so many bytes of log at most, which keeps the index of a full log below 0.8 % of it.
const BYTES_PER_RECORD: u64 = 2048;

/// How far records are from each other: 50 ms, or this fraction of the time since the first, whichever is more. So a log of any age
/// fits, the number of records grows with the logarithm of the age, and a time is right to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    divisor: u32,
}

impl Spacing {
    /// Of a log of at most `bytes_max`: n/12 records until the fraction exceeds 50 ms, and n/12 for each factor e of age after; n last 90 days.
    fn of(bytes_max: u64) -> Spacing {
        Spacing { divisor: u32::try_from(records_max(bytes_max) / 12).unwrap_or(u32::MAX) }
    }

    /// The least distance to the record after one that was made `age_ms` after the first.
    fn after_ms(self, age_ms: u64) -> u64 {
        SPACING_MIN_MS.max(age_ms / u64::from(self.divisor.max(1)))
    }
}

fn records_max(bytes_max: u64) -> u64 {
    (bytes_max / BYTES_PER_RECORD).max(RECORDS_MIN)
}

/// Decides when a record is due, and spells it.
#[derive(Debug)]
pub struct IndexWriter {
    spacing: Spacing,
    records_left: u64,
    /// The first record: the wall clock, and the boot-time clock at that moment.
    first: Option<(u64, u64)>,
    /// No record is due before this, on the boot-time clock.
    next_boot_ms: u64,
}

impl IndexWriter {
    /// Of an empty log that will have at most `bytes_max`.
    pub fn new(bytes_max: u64) -> IndexWriter {
        let (spacing, records_left) = (Spacing::of(bytes_max), records_max(bytes_max));
        IndexWriter { spacing, records_left, first: None, next_boot_ms: 0 }
    }

    /// What to append to the index because bytes came at `offset`, if anything. `wall_ms` is asked once.
    pub fn record(&mut self, offset: u64, boot_ms: u64, wall_ms: impl FnOnce() -> u64) -> Option<Vec<u8>> {
        if boot_ms < self.next_boot_ms || self.records_left == 0 {
            return None;
        }
        let mut bytes = Vec::new();
        let (first_wall_ms, first_boot_ms) = *self.first.get_or_insert_with(|| {
            bytes.extend(MAGIC);
            bytes.extend(self.spacing.divisor.to_le_bytes());
            bytes.extend([0; 4]);
            (wall_ms(), boot_ms)
        });
        let age_ms = boot_ms - first_boot_ms;
        self.next_boot_ms = boot_ms + self.spacing.after_ms(age_ms);
        self.records_left -= 1;
        bytes.extend(offset.to_le_bytes());
        bytes.extend((first_wall_ms + age_ms).to_le_bytes());
        Some(bytes)
    }
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// In the log.
    pub offset: u64,
    /// When the byte there was read, in milliseconds since 1970; those up to the next mark came then or a little later.
    pub at_ms: u64,
}

/// An index as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    spacing: Option<Spacing>,
    marks: Vec<Mark>,
}

impl Index {
    /// Reads one, or the beginning of one. What breaks the format ends it.
    pub fn parse(bytes: &[u8]) -> Index {
        let Some((header, records)) = bytes.split_at_checked(UNIT) else { return Index::default() };
        if header[..8] != MAGIC {
            return Index::default();
        }
        let divisor = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        let mut marks: Vec<Mark> = Vec::with_capacity(records.len() / UNIT);
        for record in records.chunks_exact(UNIT) {
            let word = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
            let mark = Mark { offset: word(0), at_ms: word(8) };
            if marks.last().is_some_and(|last| last.offset >= mark.offset || last.at_ms > mark.at_ms) {
                break;
            }
            marks.push(mark);
        }
        Index { spacing: Some(Spacing { divisor }), marks }
    }

    /// All records.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The records that speak of these bytes: the last at or before `from`, and those behind it before `to`.
    pub fn between(&self, from: u64, to: u64) -> &[Mark] {
        let first = self.marks.partition_point(|mark| mark.offset <= from).saturating_sub(1);
        let end = self.marks.partition_point(|mark| mark.offset < to);
        &self.marks[first.min(end)..end]
    }

    /// Where the bytes begin that may have come at `at_ms` or later; `None` when all came before. It may be a little early, never late.
    pub fn since(&self, at_ms: u64) -> Option<u64> {
        let (spacing, first) = (self.spacing?, self.marks.first()?);
        let last_ms = |mark: &Mark| mark.at_ms + spacing.after_ms(mark.at_ms - first.at_ms);
        let at = self.marks.partition_point(|mark| last_ms(mark) < at_ms);
        self.marks.get(at).map(|mark| mark.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes 10 bytes every `every_ms` of boot time, the wall clock being 1,000,000 at 5,000.
    fn written(bytes_max: u64, every_ms: u64, count: u64) -> Vec<u8> {
        let mut writer = IndexWriter::new(bytes_max);
        let wall = || 1_000_000;
        (0..count).filter_map(|n| writer.record(n * 10, 5_000 + n * every_ms, wall)).flatten().collect()
    }

    #[test]
    fn records_are_read_back_with_times_that_count_from_the_first() {
        let index = Index::parse(&written(1 << 20, 1_000, 3));
        let mark = |offset, at_ms| Mark { offset, at_ms };
        assert_eq!(index.marks(), [mark(0, 1_000_000), mark(10, 1_001_000), mark(20, 1_002_000)]);
        assert_eq!(index.between(5, 20), [mark(0, 1_000_000), mark(10, 1_001_000)]);
        assert_eq!(index.between(10, 11), [mark(10, 1_001_000)]);
        assert_eq!(index.between(500, 600), [mark(20, 1_002_000)]);
        assert_eq!(index.since(0), Some(0));
        assert_eq!(index.since(1_000_050), Some(0), "bytes up to 50 ms later share the record");
        assert_eq!(index.since(1_000_051), Some(10));
        assert_eq!(index.since(1_002_051), None);
    }

    #[test]
    fn a_torn_or_foreign_index_is_read_as_far_as_it_goes() {
        let whole = written(1 << 20, 1_000, 3);
        for cut in 0..whole.len() {
            let index = Index::parse(&whole[..cut]);
            assert_eq!(index.marks().len(), (cut / UNIT).saturating_sub(1));
        }
        assert_eq!(Index::parse(&[0; 64]), Index::default());
        let backwards = [&whole[..48], &whole[16..32]].concat();
        assert_eq!(Index::parse(&backwards).marks().len(), 2);
        assert_eq!(Index::default().since(0), None);
        assert!(Index::default().between(0, 10).is_empty());
    }

    #[test]
    fn a_week_of_chatter_stays_within_one_percent_of_a_full_log() {
        let cap = 64 << 20;
        let bytes = written(cap, 50, 7 * 86_400 * 20);
        assert!(bytes.len() as u64 <= cap / 100, "{} bytes", bytes.len());
        let index = Index::parse(&bytes);
        let age = 7 * 86_400_000;
        let last = index.marks().last().unwrap().at_ms - 1_000_000;
        assert!(age - last <= age / 2730 + 50, "the last record is {} ms old", age - last);
        let near = index.marks().partition_point(|mark| mark.at_ms < 1_000_000 + 60_000);
        assert_eq!(near, 1200, "50 ms apart within the first minutes");
    }
}
