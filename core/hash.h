// Content hashes (XXH3, 64 bit). Derived files carry the hash of what they came from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace espalier::core {

/// Streaming hash over typed columns. Every column is prefixed by its length, so that moving a value from the end of one
/// column to the start of the next changes the hash.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void bytes(const void* data, std::size_t size);
  void text(std::string_view s) { column(std::span(s.data(), s.size())); }
  /// `T` must be plain data without padding; the static assertion catches the structs that are not.
  template <class T>
  void value(const T& v) {
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
    bytes(&v, sizeof v);
  }
  template <class T>
  void column(std::span<const T> rows) {
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
    value(static_cast<std::uint64_t>(rows.size()));
    bytes(rows.data(), rows.size_bytes());
  }
  template <class T>
  void column(const std::vector<T>& rows) {
    column(std::span<const T>(rows));
  }
  std::uint64_t digest() const;

 private:
  void* state_;
};

/// 16 lower-case hex digits, the form hashes have in files.
std::string hash_text(std::uint64_t hash);

}  // namespace espalier::core
