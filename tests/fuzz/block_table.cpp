#include "fuzz.h"
#include "traces/import.h"

ESPALIER_FUZZ(text) { espalier::traces::check_forest(espalier::traces::read_block_table(text, "fuzz")); }
