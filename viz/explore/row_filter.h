// Small expressions that pick rows of a table: "kv>4096 kind=attend", "node:12", or a word that some cell holds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "viz/model/tables.h"

namespace espalier::viz {

/// Which rows match all terms, which stand apart by spaces. A term is COLUMN OPERATOR VALUE without spaces, COLUMN
/// being the beginning of a heading or of a word in it, OPERATOR one of : = < > <= >= !=; or a piece of text. A column
/// that no heading begins with makes the term a piece of text.
std::vector<bool> matching_rows(const DataTable& table, std::string_view filter);

}  // namespace espalier::viz
