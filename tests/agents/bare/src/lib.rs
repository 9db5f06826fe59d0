//! A shared library that is no agent: it exports one function and no root module, and must be refused.

/// Something to export, so that the library is not empty.
// The name is nobody else's, so it cannot take another symbol's place.
#[unsafe(no_mangle)]
pub extern "C" fn openclaw_bare() -> u32 {
    42
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_a_function() {
        assert_eq!(super::openclaw_bare(), 42);
    }
}
