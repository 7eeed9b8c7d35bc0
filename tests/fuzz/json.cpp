#include "core/json.h"

#include "fuzz.h"

ESPALIER_FUZZ(text) {
  const auto document = espalier::core::JsonDocument::parse(text, "fuzz");
  const auto root = document.root();
  if (root.is_object()) {
    for (const auto& key : root.keys()) (void)root.at(key).where();
  } else if (root.is_array()) {
    (void)root.integers();
  }
}
