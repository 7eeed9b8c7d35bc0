#include "viz/soft/image.h"

#include <png.h>

#include <new>

#include "core/error.h"

namespace espalier::viz {
namespace {

void append(png_structp png, png_bytep data, png_size_t size) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(data), size);
}

void flush(png_structp) {}

[[noreturn]] void fail(png_structp, png_const_charp what) {
  throw core::bad_input("PNG", "an image that can be written", what);
}

void ignore(png_structp, png_const_charp) {}

}  // namespace

std::string write_png(const Image& image) {
  ESPALIER_CHECK(image.width > 0 && image.height > 0);
  const std::size_t row = static_cast<std::size_t>(image.width) * 3;
  ESPALIER_CHECK(image.rgb.size() == row * static_cast<std::size_t>(image.height));
  std::string out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, fail, ignore);
  if (png == nullptr) throw std::bad_alloc();
  png_infop info = png_create_info_struct(png);
  try {
    if (info == nullptr) throw std::bad_alloc();
    png_set_write_fn(png, &out, append, flush);
    png_set_IHDR(png, info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, 9);
    png_write_info(png, info);
    for (std::int32_t y = 0; y < image.height; ++y) {
      png_write_row(png, image.rgb.data() + static_cast<std::size_t>(y) * row);
    }
    png_write_end(png, nullptr);
  } catch (...) {
    png_destroy_write_struct(&png, &info);
    throw;
  }
  png_destroy_write_struct(&png, &info);
  return out;
}

}  // namespace espalier::viz
