fn main() -> Result<(), Box<dyn std::error::Error>> {
    tonic_prost_build::configure()
        .build_client(std::env::var_os("CARGO_FEATURE_GRPC").is_some())
        .build_server(std::env::var_os("CARGO_FEATURE_GRPC").is_some())
        .bytes(".")
        .compile_protos(&["proto/cluster.proto"], &["proto"])?;
    Ok(())
}
