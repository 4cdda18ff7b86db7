//! What this machine is, how loaded it is, and what it lacks.
