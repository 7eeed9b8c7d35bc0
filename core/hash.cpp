#include "core/hash.h"

#include <fmt/core.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace espalier::core {

Hasher::Hasher() : state_(XXH3_createState()) { XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_)); }
Hasher::~Hasher() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void Hasher::pass_on(const void* data, std::size_t size) {
  auto* const state = static_cast<XXH3_state_t*>(state_);
  if (filled_ != 0) XXH3_64bits_update(state, buffer_, filled_);
  filled_ = 0;
  if (size > sizeof buffer_ / 2) {
    XXH3_64bits_update(state, data, size);
  } else {
    bytes(data, size);
  }
}

std::uint64_t Hasher::digest() {
  pass_on(nullptr, 0);
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

std::string hash_text(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace espalier::core
