"""ACTOR -> JUDGED, SCORED PROGRAMS: filters, decode, sampler, collect, critical sampling."""
