// Content hashes (XXH3, 64 bit). Derived files carry the hash of what they came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace espalier::core {

/// Streaming hash over typed columns. Every column is prefixed by its length, so that moving a value from the end of
/// one column to the start of the next changes the hash.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void bytes(const void* data, std::size_t size) {
    // Most writes are a few bytes long: they are collected, the stream is the same.
    if (size > sizeof buffer_ || filled_ > sizeof buffer_ - size) return pass_on(data, size);
    if (size != 0) std::memcpy(buffer_ + filled_, data, size);
    filled_ += size;
  }
  void text(std::string_view s) {
    const std::size_t size = s.size();
    value(static_cast<std::uint64_t>(size));
    // Labels are a few characters long: copied by hand, some of them twice, sooner than by a call.
    if (size == 0 || size > 8 || filled_ > sizeof buffer_ - 8) return bytes(s.data(), size);
    std::byte* const to = buffer_ + filled_;
    if (size >= 4) {
      std::memcpy(to, s.data(), 4);
      std::memcpy(to + size - 4, s.data() + size - 4, 4);
    } else {
      for (const std::size_t i : {std::size_t{0}, size / 2, size - 1}) to[i] = static_cast<std::byte>(s[i]);
    }
    filled_ += size;
  }
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
  std::uint64_t digest();

 private:
  /// Empties the buffer into the state, then takes the bytes.
  void pass_on(const void* data, std::size_t size);

  void* state_;
  std::size_t filled_ = 0;
  std::byte buffer_[1024];
};

/// 16 lower-case hex digits, the form hashes have in files.
std::string hash_text(std::uint64_t hash);

}  // namespace espalier::core
