#include "core/error.h"

#include "core/units.h"

namespace espalier::core {

Error bad_input(std::string_view where, std::string_view expected, std::string_view got) {
  return {ErrorKind::bad_input, fmt::format("{}: expected {}, got {}", where, expected, got)};
}

Error usage_error(std::string sentence) { return {ErrorKind::usage, sentence}; }

void fail_check(const char* file, int line, const char* condition, const std::string& operands) {
  throw InvariantError(
      fmt::format("{}:{}: invariant broken: {}{}{}", file, line, condition, operands.empty() ? "" : ": ", operands));
}

std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw bad_input("size", "a product below 2^63", fmt::format("{} x {}", a, b));
  }
  return product;
}

std::int64_t checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) throw bad_input("size", "a sum below 2^63", fmt::format("{} + {}", a, b));
  return sum;
}

}  // namespace espalier::core
