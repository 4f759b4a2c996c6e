//! seawall
