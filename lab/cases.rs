//! A test for each case, for tests that need the lab. Included by the test programs that have such tests.
//!
//! A loop over hosts shows the first host that fails and hides the others. With [`each!`] each case is a test of its own, by name:
//! `images::the_cow_says_hello::nix_2_26`. (Macros of attributes could do this, too. They would have every crate of the workspace that
//! derives something compiled twice, with the features of the parser that the macros want and with those that the product wants.)

/// Makes a test of each case: a name, and the arguments that the function of the test's name is called with.
///
/// ```ignore
/// each!(the_cow_says_hello: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
/// fn the_cow_says_hello(host: Host) {
///     host.sh("nixoci run ./examples/cowsay#container").code(0).out("< hello world >");
/// }
/// ```
macro_rules! each {
    ($test:ident: $($case:ident($($argument:expr),* $(,)?)),+ $(,)?) => {
        mod $test {
            #[expect(clippy::allow_attributes, reason = "constants may be used as arguments, or not")]
            #[allow(unused_imports, reason = "constants may be used as arguments, or not")]
            use super::*;

            $(
                #[test]
                #[ignore = "needs the lab: cargo xtask test"]
                fn $case() {
                    super::$test($($argument),*);
                }
            )+
        }
    };
}
