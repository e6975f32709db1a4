# Finds nvcc and cuBLASLt and sets KVTAPE_HAS_CUDA. cuBLASLt may come from the toolkit or from an
# installed `nvidia-cublas` Python wheel (KVTAPE_CUBLAS_ROOT names its folder with include/ and lib/).
set(KVTAPE_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set(KVTAPE_HAS_CUDA OFF)
if(NOT KVTAPE_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "KVTAPE_CUDA is ${KVTAPE_CUDA}; it must be AUTO, ON or OFF")
endif()
