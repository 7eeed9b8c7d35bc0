// Device memory of the emulator: named pieces, each checked on every access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/emulator/counters.h"

namespace espalier::kernels::emulator {

/// A fresh read passes by the first-level cache, which keeps what other multiprocessors have overwritten since.
enum class Access : std::uint8_t { read, fresh_read, write };

/// One allocation. Bytes begin as 0xFF: NaN in every number format.
struct Piece {
  std::string name;
  MemoryKind kind = MemoryKind::other;
  bool writable = false;
  std::size_t bytes = 0;
  std::unique_ptr<std::byte[]> storage;
  std::byte* begin = nullptr;          ///< 256-byte aligned
  std::vector<std::uint32_t> written;  ///< one a 2-byte word of writable pieces: by whom last, of all blocks ever
                                       ///< launched; 0: nothing was stored here
  std::vector<bool> read;              ///< one a sector of 32 bytes: some kernel has read of it
};

class GlobalMemory {
 public:
  /// Read by kernels only.
  template <class T>
  const T* upload(std::string name, MemoryKind kind, const std::vector<T>& values) {
    return static_cast<const T*>(upload_bytes(std::move(name), kind, values.data(), values.size() * sizeof(T)));
  }
  const void* upload_bytes(std::string name, MemoryKind kind, const void* from, std::size_t bytes);
  /// Written by kernels; reading a word that nothing was stored into is an error.
  void* allocate(std::string name, MemoryKind kind, std::size_t bytes);
  void* allocate_zeroed(std::string name, MemoryKind kind, std::size_t bytes);
  /// Makes an allocation as it was when it was new.
  void renew(const void* begin);
  /// What the host copies into a piece between launches.
  void overwrite(void* to, const void* from, std::size_t bytes);

  /// The piece that holds [address, address + bytes); or why the access is wrong.
  struct Verdict {
    const Piece* piece = nullptr;
    std::string complaint;  ///< empty: the access is right
  };
  /// By a block of the launch under way.
  Verdict check(Access access, const void* address, std::size_t bytes, std::uint32_t block);
  void begin_launch(std::uint32_t blocks) {
    first_writer_ += blocks_;
    blocks_ = blocks;
  }
  /// Sectors of a kind that kernels have read.
  std::int64_t sectors_read(MemoryKind kind) const;
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  Piece& add(std::string name, MemoryKind kind, std::size_t bytes);
  Piece* find(const std::byte* address);

  std::vector<Piece> pieces_;
  std::uint32_t first_writer_ = 2, blocks_ = 0;  ///< of the launch under way
  std::size_t last_ = 0;                         ///< piece of the access before
};

}  // namespace espalier::kernels::emulator
