//! What a plan would send, before it is sent: for `squall check`.
