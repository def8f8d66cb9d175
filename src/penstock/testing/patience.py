"""How long tests wait for what must come. What goes well takes a fraction of it; a machine may be busy with other things."""

PATIENT_S = 120.0
