"""The tests: unit, contract, integration, end to end, chaos, and the stack of real servers behind them."""
