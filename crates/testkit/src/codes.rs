//! The errors that fakes make on purpose.

nixoci_core::codes! {
    /// A fault that a test asked for.
    FAULT = ("nixoci::testkit::fault", Build, "a fault that a test asked for",
        "This error is made by nixoci's own tests and by those of backend authors, on purpose.");
    /// A transfer fault that a test asked for.
    TRANSFER_FAULT = ("nixoci::testkit::transfer_fault", Transfer, "a broken transfer that a test asked for",
        "This error is made by nixoci's own tests and by those of backend authors, on purpose.");
    /// Steps that a test wants done by hand.
    BY_HAND = ("nixoci::testkit::by_hand", Pending, "steps that a test wants done by hand",
        "This error is made by nixoci's own tests and by those of backend authors, on purpose.");
    /// A process where none may be started.
    NO_PROCESSES = ("nixoci::testkit::no_processes", Unexpected, "a process in a test that may have none",
        "The code under test asked for a process, and the test said that there must be none.");
}
