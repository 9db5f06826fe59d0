//! The lines of a `.env` file.

type Pair<'t> = (&'t str, String);
type Fault = (usize, &'static str);

/// The keys and values of `text`, and the line and fault of each line that is none. A fault never quotes the line.
pub(crate) fn parse(text: &str) -> (Vec<Pair<'_>>, Vec<Fault>) {
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match pair(line.trim()) {
            Ok(pair) => pairs.extend(pair),
            Err(fault) => faults.push((number, fault)),
        }
    }
    (pairs, faults)
}

fn pair(line: &str) -> Result<Option<Pair<'_>>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, rest) = line.split_once('=').ok_or("there is no `=`")?;
    let key = key.trim();
    let key = key.strip_prefix("export ").map_or(key, str::trim);
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.is_empty() || !key.chars().all(good) || key.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("what stands before `=` is no name");
    }
    Ok(Some((key, value(rest.trim())?)))
}

fn value(text: &str) -> Result<String, &'static str> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let comment = text
            .char_indices()
            .find(|&(at, c)| c == '#' && text[..at].chars().next_back().is_none_or(char::is_whitespace));
        return Ok(comment.map_or(text, |(at, _)| text[..at].trim_end()).into());
    };
    let mut value = String::new();
    let mut chars = text[1..].chars();
    loop {
        match chars.next().ok_or("a quote is not closed")? {
            c if c == quote => break,
            '\\' if quote == '"' => match chars.next().ok_or("a quote is not closed")? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$') => value.push(c),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    let rest = chars.as_str().trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(value)
    } else {
        Err("something follows the closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shells_write_is_read() {
        let text = "# keys\n\nA=1\nexport B = two words # why\nC='a#b \\n'\nD=\"x\\ny\\\"$\" # c\nE=\nF=a#b\r\nG==\nH=#x\n";
        let (pairs, faults) = parse(text);
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(faults, []);
        assert_eq!(
            pairs,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "a#b \\n"),
                ("D", "x\ny\"$"),
                ("E", ""),
                ("F", "a#b"),
                ("G", "="),
                ("H", "")
            ]
        );
    }

    #[test]
    fn a_malformed_line_is_numbered() {
        let (pairs, faults) = parse("A=1\nnothing\n2B=x\n=x\nC=\"x\nD='x' y\nE=\"\\");
        assert_eq!(pairs, [("A", "1".into())]);
        assert_eq!(faults.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    }
}
