//! The host's decision: claim, proxy, bridges, garbage.
