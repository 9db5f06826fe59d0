//! What an agent may ask for: a grant is a method's name or its first part.

/// Whether one of `grants` covers `method`: `memory` covers `memory.get`.
pub fn allows(grants: &[String], method: &str) -> bool {
    grants.iter().any(|grant| {
        method.strip_prefix(grant.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_its_methods_and_no_others() {
        let grants = ["memory".to_owned(), "supervisor.status".to_owned()];
        for (method, expected) in [
            ("memory.get", true),
            ("memory", true),
            ("memoryx.get", false),
            ("supervisor.status", true),
            ("supervisor.restart", false),
            ("supervisor", false),
        ] {
            assert_eq!(allows(&grants, method), expected, "{method}");
        }
    }
}
