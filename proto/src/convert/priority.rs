//! Priorities as people write them: by the name of a class, or by number.

use shoal_core::priority::Priority;

/// The number for the wire of `low`, `normal`, `high`, `urgent`, or of a number from 1 to 1000.
pub fn parse(text: &str) -> Result<u32, String> {
    text.parse::<Priority>().map(|priority| priority.number().into()).map_err(|bad| bad.to_string())
}

/// The name of a class where it is exactly that, else the number; 0 is the normal one.
pub fn text(number: u32) -> String {
    let known = if number == 0 { Some(Priority::NORMAL) } else { Priority::new(number.into()) };
    known.map_or_else(|| number.to_string(), |priority| priority.to_string())
}
