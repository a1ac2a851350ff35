"""What all tests share: property tests take as long as a busy machine needs."""

from hypothesis import HealthCheck, settings

settings.register_profile("fedpriv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedpriv")
