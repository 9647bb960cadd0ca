//! A picture of a comparison: a panel for each measure, in it a bar for each policy. For waits a bar shows three things: dark to the mean,
//! middle to the p95, pale to the longest. Written by hand, without scripts or fonts of its own, so that any page can show it.

use crate::experiment::Row;
use crate::job::{Band, Width};
use crate::measure::Waits;
use std::fmt::Write;

const PANEL_WIDTH: usize = 300;
const PANELS_A_ROW: usize = 4;
/// Of the longest bar; right of it is room for its numbers.
const BAR_WIDTH: f64 = 150.0;
const BAR_HEIGHT: usize = 13;
const LINE_HEIGHT: usize = 21;
const MARGIN: usize = 24;
const TOP: usize = 84;
/// One for each policy, taken in turn: apart for people who see no red or green (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];

struct Panel {
    title: String,
    /// For each policy: mean, p95, maximum; a plain number is all three.
    bars: Vec<[f64; 3]>,
    plain: bool,
}

/// The picture of these rows.
pub fn svg(title: &str, rows: &[Row]) -> String {
    let panels = panels(rows);
    let panel_height = 34 + LINE_HEIGHT * rows.len();
    let width = 2 * MARGIN + PANELS_A_ROW * PANEL_WIDTH;
    let height = TOP + panels.len().div_ceil(PANELS_A_ROW) * panel_height + MARGIN;
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#222\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"30\" font-size=\"17\">{}</text>\n",
        escape(title)
    );
    legend(&mut out, rows);
    for (index, panel) in panels.iter().enumerate() {
        let x = MARGIN + index % PANELS_A_ROW * PANEL_WIDTH;
        let y = TOP + index / PANELS_A_ROW * panel_height;
        draw(&mut out, panel, x, y);
    }
    out.push_str("</svg>\n");
    out
}

fn panels(rows: &[Row]) -> Vec<Panel> {
    let plain = |title: &str, value: fn(&Row) -> f64| Panel {
        title: title.to_owned(),
        bars: rows.iter().map(|row| [value(row); 3]).collect(),
        plain: true,
    };
    let waits = |title: String, of: &dyn Fn(&Row) -> Waits| Panel {
        title,
        bars: rows.iter().map(of).map(|w| [w.mean_h, w.p95_h, w.max_h]).collect(),
        plain: false,
    };
    let mut panels = vec![
        plain("makespan, h", |row| row.measures.makespan_h),
        plain("running, mean", |row| row.measures.running_mean),
        plain("nodes used, %", |row| row.measures.utilisation_percent),
        plain("unfinished at the horizon", |row| row.measures.unfinished),
    ];
    for (index, width) in Width::ALL.iter().enumerate() {
        let title = format!("wait of {} nodes, h", width.name());
        panels.push(waits(title, &|row| row.measures.by_width[index]));
    }
    for (index, band) in Band::ALL.iter().enumerate() {
        let title = format!("wait, {} priority, h", band.name());
        panels.push(waits(title, &|row| row.measures.by_band[index]));
    }
    panels.push(waits("wait of all, h".to_owned(), &|row| row.measures.all));
    panels.push(plain("pairs inverted, %", |row| row.measures.inversions_percent));
    panels
}

fn legend(out: &mut String, rows: &[Row]) {
    let mut x = MARGIN;
    for (row, colour) in rows.iter().zip(COLOURS.iter().cycle()) {
        let name = escape(&row.policy);
        let _ = writeln!(out, "<rect x=\"{x}\" y=\"46\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"56\">{name}</text>", x + 17);
        x += 40 + 7 * row.policy.len();
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"56\" fill=\"#666\">waits: dark to the mean, middle to p95, pale to the longest</text>",
        x + 10
    );
}

fn draw(out: &mut String, panel: &Panel, x: usize, y: usize) {
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\">{}</text>", y + 14, panel.title);
    let longest = panel.bars.iter().map(|bar| bar[2]).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    for (line, (bar, colour)) in panel.bars.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let top = y + 22 + line * LINE_HEIGHT;
        for (value, opacity) in [(bar[2], 0.25), (bar[1], 0.35), (bar[0], 1.0)] {
            let wide = BAR_WIDTH * value / longest;
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{top}\" width=\"{wide:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\" \
                 fill-opacity=\"{opacity}\"/>"
            );
        }
        let numbers = match panel.plain {
            true => format!("{:.1}", bar[0]),
            false => format!("{:.1} / {:.1} / {:.1}", bar[0], bar[1], bar[2]),
        };
        let text_x = x as f64 + BAR_WIDTH * bar[2] / longest + 5.0;
        let _ = writeln!(
            out,
            "<text x=\"{text_x:.1}\" y=\"{}\" font-size=\"11\">{numbers}</text>",
            top + BAR_HEIGHT - 3
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measures;

    #[test]
    fn every_policy_is_named_and_markup_in_names_is_escaped() {
        let row = |name: &str| Row { policy: name.to_owned(), measures: Measures::default() };
        let drawn = svg("a < b", &[row("easy"), row("<x>")]);
        assert!(drawn.contains("a &lt; b") && drawn.contains(">easy<") && drawn.contains("&lt;x&gt;"));
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
        assert_eq!(drawn.matches("font-weight").count(), 14);
    }
}
