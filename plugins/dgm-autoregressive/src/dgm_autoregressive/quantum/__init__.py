"""Quantum chains and what measurements say of them: Hamiltonians, positive operator-valued measures, observables."""
