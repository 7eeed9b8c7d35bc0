#include "costmodel/device_spec.h"
#include "fuzz.h"

ESPALIER_FUZZ(text) { (void)espalier::costmodel::read_device(text, "fuzz"); }
