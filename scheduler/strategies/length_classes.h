// Lengths by quarter octave: pieces that are about equally long are priced, and launched, together.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <utility>

namespace espalier::scheduler::planning {

inline constexpr int kLengthClasses = 4 * 64;
/// Lengths within a quarter octave are alike.
inline int length_class(std::int64_t tokens) {
  const auto octave = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(tokens))) - 1;
  return 4 * octave + static_cast<int>(octave >= 2 ? tokens >> (octave - 2) & 3 : 0);
}

/// Numbers of pieces by class of length, and their tokens.
class LengthHistogram {
 public:
  void add(std::int64_t tokens, std::int64_t count) {
    const auto c = static_cast<std::size_t>(length_class(tokens));
    used_[c / 64] |= std::uint64_t{1} << (c % 64);
    tokens_[c] += static_cast<double>(tokens * count);
    count_[c] += static_cast<double>(count);
    longest_[c] = std::max(longest_[c], static_cast<double>(tokens));
  }
  /// Visits (tokens, count, longest) of the classes that have any, shortest first, and empties them.
  template <class F>
  void drain(F&& visit) {
    for (std::size_t word = 0; word < used_.size(); ++word) {
      for (; used_[word] != 0; used_[word] &= used_[word] - 1) {
        const std::size_t c = 64 * word + static_cast<std::size_t>(std::countr_zero(used_[word]));
        visit(std::exchange(tokens_[c], 0), std::exchange(count_[c], 0), std::exchange(longest_[c], 0));
      }
    }
  }

 private:
  std::array<std::uint64_t, kLengthClasses / 64> used_{};
  std::array<double, kLengthClasses> tokens_{}, count_{}, longest_{};
};

}  // namespace espalier::scheduler::planning
