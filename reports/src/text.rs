//! Numbers and labels as text: one way to print a rate, a ratio or an interval, and one place that makes
//! foreign text harmless. It escapes nothing: that is the business of whoever writes the markup.

/// What a missing figure is called everywhere.
pub(crate) const MISSING: &str = "not available";

/// `s` without characters that XML cannot hold; each becomes U+FFFD. Line ends and tabs become spaces.
pub(crate) fn clean(s: &str) -> String {
    s.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// `s` cleaned and cut to at most `max` characters, the last of them an ellipsis when something was cut.
pub(crate) fn short(s: &str, max: usize) -> String {
    let s = clean(s);
    if s.chars().count() <= max {
        return s;
    }
    let mut cut: String = s.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A figure with about four significant digits and its thousands grouped; what is not finite is [`MISSING`].
pub(crate) fn num(v: f64) -> String {
    if !v.is_finite() {
        return MISSING.to_string();
    }
    let a = v.abs();
    let decimals = match a {
        _ if a >= 1000.0 || a == 0.0 => 0,
        _ if a >= 100.0 => 1,
        _ if a >= 10.0 => 2,
        _ if a >= 1.0 => 3,
        _ if a >= 1e-3 => 3 - a.log10().floor() as i32,
        _ => return format!("{v:.3e}"),
    };
    group(&format!("{v:.*}", decimals as usize))
}

/// An axis label: no more digits than the value needs.
pub(crate) fn tick(v: f64) -> String {
    let s = format!("{v:.6}");
    let s = s.trim_end_matches('0').trim_end_matches('.');
    group(if s == "-0" { "0" } else { s })
}

/// A power of two as it is said: 256, 1/8.
pub(crate) fn power_of_two(exponent: i32) -> String {
    if exponent >= 0 { tick(2f64.powi(exponent)) } else { format!("1/{}", tick(2f64.powi(-exponent))) }
}

/// `lo – hi`, or [`MISSING`].
pub(crate) fn interval(ci: Option<(f64, f64)>, f: impl Fn(f64) -> String) -> String {
    match ci {
        Some((lo, hi)) if lo.is_finite() && hi.is_finite() => format!("{} – {}", f(lo), f(hi)),
        _ => MISSING.to_string(),
    }
}

/// A ratio with three decimals and its sign of multiplication.
pub(crate) fn ratio(v: f64) -> String {
    if v.is_finite() { format!("{v:.3}×") } else { MISSING.to_string() }
}

/// Groups the digits before the point in threes, from five digits on, by narrow no-break spaces.
fn group(s: &str) -> String {
    let (sign, rest) = s.strip_prefix('-').map_or(("", s), |r| ("-", r));
    let (whole, fraction) = rest.find('.').map_or((rest, ""), |at| rest.split_at(at));
    if whole.len() < 5 {
        return s.to_string();
    }
    let mut out = String::from(sign);
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (v, want) in [
            (0.0, "0"),
            (113.44, "113.4"),
            (45.207, "45.21"),
            (1.2345, "1.234"),
            (0.0123456, "0.01235"),
            (0.5, "0.5000"),
            (1234.6, "1235"),
            (-1234567.0, "-1\u{202f}234\u{202f}567"),
            (f64::NAN, MISSING),
            (1e-9, "1.000e-9"),
        ] {
            assert_eq!(num(v), want, "{v}");
        }
        assert_eq!(tick(2.50), "2.5");
        assert_eq!(tick(65536.0), "65\u{202f}536");
        assert_eq!(tick(-0.0), "0");
        assert_eq!(power_of_two(-3), "1/8");
        assert_eq!(ratio(1.0 / 3.0), "0.333×");
        assert_eq!(interval(Some((1.0, f64::INFINITY)), num), MISSING);
    }

    #[test]
    fn labels_lose_what_xml_cannot_hold() {
        assert_eq!(clean("a\u{0}b\n\u{1b}[1m\u{ffff}"), "a\u{fffd}b \u{fffd}[1m\u{fffd}");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("äöü", 3), "äöü");
    }
}
