# embed_text(name file): makes ${CMAKE_CURRENT_BINARY_DIR}/<name>.cpp, which defines `extern const char* const <name>` with the
# file's text, so that committed data travels inside the program and needs no path at run time.
function(embed_text name file)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} text)
  # The substitution below would take what stands between two such signs for a variable's name.
  if(text MATCHES "@")
    message(FATAL_ERROR "embed_text: ${file} contains an at sign")
  endif()
  # The standard asks for literals of 64 KiB; the compilers that we build with take more, and one catalog comes close.
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp @ONLY CONTENT
"#pragma GCC diagnostic ignored \"-Woverlength-strings\"\nextern const char* const ${name};\nconst char* const ${name} = R\"ESPALIER(@text@)ESPALIER\";\n")
endfunction()
