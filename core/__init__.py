"""Mathematics that actions and images share; knows neither."""
